// The same few lines of geometry as on the server, so that a chart goes on where the page left it.

const SVG = "http://www.w3.org/2000/svg";

export function line(element, series, width, height) {
  if (!element || series.length < 2) return;
  const top = Math.max(1, ...series);
  const step = width / (series.length - 1);
  element.setAttribute("points", series.map((value, index) => `${(index * step).toFixed(1)},${(height - (value / top) * height).toFixed(1)}`).join(" "));
}

export function bars(element, values, width, height) {
  if (!element) return;
  const top = Math.max(1, ...values);
  const step = width / values.length;
  element.replaceChildren(...values.map((value, index) => {
    const rect = document.createElementNS(SVG, "rect");
    const size = value ? Math.max(1, (value / top) * height) : 0;
    rect.setAttribute("x", index * step);
    rect.setAttribute("y", height - size);
    rect.setAttribute("width", step * 0.72);
    rect.setAttribute("height", size);
    return rect;
  }));
}
