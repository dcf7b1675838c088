# Runs fdsr on an NVIDIA GPU (or, slowly, without one):
#
#     docker build --tag fdsr .
#     docker run --rm --gpus all --volume "$PWD/runs:/home/fdsr/runs" fdsr fit --config experiments/crps_sr.yaml
#
# The mounted folder must be writable by user 10001; or give --user "$(id -u):$(id -g)".
FROM nvidia/cuda:13.2.0-runtime-ubuntu24.04

ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

# a compiler: torch.compile makes its launchers with it
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 fdsr
RUN python3 -m venv /opt/venv

# Dependencies: this layer is rebuilt only when they change, not with the source. The package is an empty stub here, and
# all of it goes again: setuptools would take a stub left in build/ for newer than the source copied below.
WORKDIR /opt/build
COPY pyproject.toml constraints.txt ./
RUN mkdir fdsr && touch fdsr/__init__.py README.md LICENSE \
    && pip install --constraint constraints.txt ".[workspace,fid,remote,grib]" \
    && pip uninstall --yes fdsr \
    && rm -r build fdsr fdsr.egg-info

COPY README.md LICENSE ./
COPY fdsr fdsr
RUN pip install --no-deps .

USER fdsr
WORKDIR /home/fdsr
COPY --chown=fdsr:fdsr data data
COPY --chown=fdsr:fdsr experiments experiments
# whoever runs it may prepare data and write runs here
RUN mkdir runs && chmod 1777 . runs

ENTRYPOINT ["python", "-m", "fdsr.cli"]
CMD ["--help"]
