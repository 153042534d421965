"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const isNarrow = matchMedia("(max-width: 40rem)");
  const hasMouse = matchMedia("(pointer: fine)").matches;

  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // Every "var:NAME" becomes the colour that the style sheet gives it at this moment.
  const coloured = (value) => {
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one)]));
    return typeof value === "string" && value.startsWith("var:") ? colour(value.slice(4)) : value;
  };

  const axis = (given) => ({
    gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"),
    automargin: true, fixedrange: !hasMouse, tickangle: 0,
    ticklabeloverflow: "allow", ...given,
  });

  // A phone has room for every other label.
  const timed = ({ tickvals, ticktext, ...rest }) => {
    const fits = (_, n) => !isNarrow.matches || n % 2 === 0;
    return tickvals && ticktext && tickvals.length === 5
      ? { ...rest, tickvals: tickvals.filter(fits), ticktext: ticktext.filter(fits) }
      : { ...rest, ...(tickvals && { tickvals, ticktext }) };
  };

  const layout = (given) => ({
    height: 320, autosize: true, dragmode: hasMouse ? "zoom" : false,
    margin: { l: 34, r: 34, t: 8, b: 8 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), size: isNarrow.matches ? 11 : 13,
            family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"),
                  font: { color: colour("ink") } },
    showlegend: true, legend: { orientation: "h", y: -0.2, yanchor: "top" },
    ...given,
    xaxis: axis(timed(given.xaxis)), yaxis: axis(given.yaxis),
  });

  const draw = () => {
    for (const [id, figure] of Object.entries(figures)) {
      const place = document.getElementById(id);
      if (!place) continue;
      const { data, layout: given } = coloured(figure);
      Plotly.react(place, data, layout(given), { responsive: true, displayModeBar: false });
    }
  };

  isDark.addEventListener("change", draw);
  isNarrow.addEventListener("change", draw);
  draw();
})();
