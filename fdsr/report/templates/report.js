"use strict";
for (const study of document.querySelectorAll(".study")) {
  // one table at a time
  for (const radio of study.querySelectorAll(".pick input")) {
    const show = () => {
      for (const table of study.querySelectorAll(".table")) table.hidden = table.dataset.of !== radio.value;
    };
    radio.addEventListener("change", show);
    if (radio.checked) show();
  }
  // methods shown in the figures
  for (const box of study.querySelectorAll(".legend input")) {
    const show = () => {
      for (const part of study.querySelectorAll(".s" + box.value)) part.style.display = box.checked ? "" : "none";
    };
    box.addEventListener("change", show);
    show();
  }
  for (const button of study.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      for (const box of study.querySelectorAll(".legend input")) {
        box.checked = Boolean(button.dataset.shown);
        box.dispatchEvent(new Event("change"));
      }
    });
  }
  const maps = study.querySelector(".maps");
  if (maps) slideMaps(maps, JSON.parse(maps.querySelector("script").textContent));
}

function slideMaps(maps, atlas) {
  const [method, variable] = maps.querySelectorAll("select");
  const slider = maps.querySelector("input[type=range]");
  const stack = maps.querySelector(".stack");
  const said = maps.querySelector("output");
  const stops = maps.querySelector(".stops");
  const [low, high] = maps.querySelectorAll(".scale span");
  let layers = [];

  function show() {
    const now = Number(slider.value);
    stack.querySelectorAll("img").forEach((image, i) => image.classList.toggle("shown", i === now));
    said.textContent = layers[now][0];
    slider.setAttribute("aria-valuetext", layers[now][0]);
  }
  function choose() {
    const before = layers.length ? layers[Number(slider.value)][0] : "";
    layers = atlas.layers[method.value][variable.value];
    stack.querySelectorAll("img").forEach((image) => image.remove());
    for (const [name, picture] of layers) {
      const image = new Image();
      image.src = atlas.pictures[picture];
      image.alt = `${variable.value}, ${method.value}: ${name}`;
      stack.insertBefore(image, said);
    }
    slider.max = layers.length - 1;
    const same = layers.findIndex(([name]) => name === before);
    slider.value = same < 0 ? 0 : same;
    stops.replaceChildren(...layers.map(([name]) => Object.assign(document.createElement("span"), { textContent: name })));
    const [from, to, unit] = atlas.scales[variable.value];
    low.textContent = from;
    high.textContent = `${to} ${unit}`;
    show();
  }
  slider.addEventListener("input", show);
  method.addEventListener("change", choose);
  variable.addEventListener("change", choose);
  choose();
}
