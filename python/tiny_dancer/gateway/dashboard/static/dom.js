// Elements. Text is always text: nothing that comes from the gateway is ever read as markup.
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (let [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-")) value = value === null || value === undefined ? value : String(value);
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "width") made.style.width = value;
    else if (name === "colour") made.style.background = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined).map(text));
  return made;
}

const text = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

export const byId = (id) => document.getElementById(id);

export function put(place, ...children) {
  place.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined).map(text));
}

// Columns are [title, of a row, whether a number]; the first names the row.
export function table(columns, rows, { caption, rowClass } = {}) {
  const head = columns.map(([title, , number]) => el("th", { scope: "col", class: number ? "number" : null }, title));
  const body = rows.map((row) =>
    el("tr", { class: rowClass?.(row) },
      columns.map(([, of, number], place) =>
        el(place ? "td" : "th", { scope: place ? null : "row", class: number ? "number" : null }, of(row)))));
  return el("table", {}, caption ? el("caption", { class: "unseen" }, caption) : null,
    el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
}
