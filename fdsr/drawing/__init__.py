"""How figures look, and what becomes of them: one style, and thin back ends for PNG files and for SVG on a page.

A drawing function takes matplotlib axes and data and knows neither where it is drawn nor in which colours: `C3` is the fourth
series, `style.ink()` and `style.paper()` are text and background.
"""
