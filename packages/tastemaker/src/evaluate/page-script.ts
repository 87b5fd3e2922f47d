/*
 * The gallery's script. Rows are made a screenful at a time, pictures are loaded when they come into view; everything that was written by people goes through textContent.
 */
export const galleryScript: string = `"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { prompts, seeds, metrics, names, variants } = data;
  const find = (id) => document.getElementById(id);
  const make = (tag, attributes, ...children) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...children);
    return element;
  };
  const minus = (text) => text.replace("-", "\\u2212");
  const number = (value) => minus(String(Number(value.toPrecision(3))));
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  const hasOthers = variants.length > 1;
  const [key, of, order, filter] = ["key", "of", "order", "filter"].map(find);

  const keys = [["list", "place in the list"]];
  if (hasOthers) keys.push(["change", "biggest change of the picture"]);
  metrics.forEach(({ name }, index) => {
    if (hasOthers) keys.push(["d" + index, "change in " + name]);
    keys.push(["s" + index, name]);
  });
  key.append(...keys.map(([value, text]) => make("option", { value, textContent: text })));
  of.append(...variants.map(({ label }, index) => make("option", { value: index, textContent: label })));
  if (hasOthers) of.value = 1;
  find("of-label").hidden = !hasOthers;

  const metricOf = () => (key.value === "list" || key.value === "change" ? 0 : Number(key.value.slice(1)));
  const valueOf = (place) => {
    const variant = variants[Number(of.value)];
    const metric = metricOf();
    if (key.value === "change") return variant.change === null ? 0 : variant.change[place];
    if (key.value[0] === "d") return variant.scores[metric][place] - variants[0].scores[metric][place];
    return variant.scores[metric][place];
  };

  const tone = (metric, difference) => (difference === 0 ? "" : difference > 0 === metrics[metric].higher ? "good" : "bad");
  const picture = (variant, place) => {
    const image = make("img", { src: variants[variant].folder + names[place], loading: "lazy", decoding: "async", alt: variants[variant].label + ": " + prompts[Math.floor(place / seeds)] });
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 200));
    image.addEventListener("error", () => image.replaceWith(make("span", { className: "missing", textContent: "no picture" })));
    return image;
  };
  const caption = (variant, place, metric) => {
    const value = variants[variant].scores[metric][place];
    const line = make("small", {}, metrics[metric].name + " " + number(value));
    if (variant > 0) {
      const difference = value - variants[0].scores[metric][place];
      line.append(" ", make("b", { className: tone(metric, difference), textContent: signed(difference) }));
    }
    return line;
  };

  let shown = [];
  let next = 0;
  const rows = find("rows");
  const addRows = () => {
    const part = document.createDocumentFragment();
    const metric = metricOf();
    for (const end = Math.min(shown.length, next + 40); next < end; next++) {
      const place = shown[next];
      const notes = [seeds > 1 ? "seed " + (place % seeds) : ""];
      if (hasOthers && key.value === "change") notes.push("change " + number(valueOf(place)));
      const pictures = variants.map(({ label }, variant) => {
        const button = make("button", { className: "picture", title: "enlarge" }, picture(variant, place), make("span", { className: "label", textContent: label }), caption(variant, place, metric));
        button.addEventListener("click", () => enlarge(shown.indexOf(place)));
        return button;
      });
      const text = make("p", { className: "prompt" }, prompts[Math.floor(place / seeds)], make("small", { textContent: notes.filter((note) => note !== "").join(", ") }));
      part.append(make("article", { className: "row" }, make("div", { className: "strip" }, ...pictures), text));
    }
    rows.append(part);
  };
  const observer = new IntersectionObserver((entries) => {
    if (entries.some(({ isIntersecting }) => isIntersecting)) {
      addRows();
      if (next < shown.length) {
        observer.unobserve(find("more"));
        observer.observe(find("more"));
      }
    }
  }, { rootMargin: "1200px" });

  const update = () => {
    const words = filter.value.toLowerCase().split(/\\s+/).filter((word) => word !== "");
    shown = names.map((_, place) => place).filter((place) => {
      const prompt = prompts[Math.floor(place / seeds)].toLowerCase();
      return words.every((word) => prompt.includes(word));
    });
    const isList = key.value === "list";
    of.disabled = order.disabled = isList;
    if (!isList) {
      const values = new Map(shown.map((place) => [place, valueOf(place)]));
      shown.sort((a, b) => Number(order.value) * (values.get(a) - values.get(b)) || a - b);
    }
    next = 0;
    rows.replaceChildren();
    find("count").textContent = shown.length === names.length ? names.length + " rows" : shown.length + " of " + names.length + " rows";
    addRows();
    observer.unobserve(find("more"));
    observer.observe(find("more"));
  };

  const dialog = find("large");
  let at = 0;
  const enlarge = (index) => {
    at = Math.max(0, Math.min(shown.length - 1, index));
    const place = shown[at];
    const body = find("large-body");
    const columns = variants.map(({ label, change, scores }, variant) => {
      const list = make("table", {});
      metrics.forEach(({ name }, metric) => {
        const row = make("tr", {}, make("td", { textContent: name }), make("td", { textContent: number(scores[metric][place]) }));
        const difference = scores[metric][place] - variants[0].scores[metric][place];
        row.append(make("td", { className: variant > 0 ? tone(metric, difference) : "", textContent: variant > 0 ? signed(difference) : "" }));
        list.append(row);
      });
      if (change !== null) list.append(make("tr", {}, make("td", { textContent: "change of the picture" }), make("td", { textContent: number(change[place]) }), make("td", {})));
      const image = picture(variant, place);
      image.loading = "eager";
      return make("figure", {}, make("figcaption", { textContent: label }), image, list);
    });
    body.replaceChildren(make("p", { className: "prompt" }, prompts[Math.floor(place / seeds)], make("small", { textContent: (seeds > 1 ? "seed " + (place % seeds) + " \\u00b7 " : "") + (at + 1) + " of " + shown.length + " \\u00b7 arrow keys go on" })), make("div", { className: "large-row" }, ...columns));
    if (!dialog.open) dialog.showModal();
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  addEventListener("keydown", ({ key: pressed }) => {
    if (dialog.open && pressed === "ArrowRight") enlarge(at + 1);
    if (dialog.open && pressed === "ArrowLeft") enlarge(at - 1);
  });

  for (const control of [key, of, order]) control.addEventListener("change", update);
  let timer;
  filter.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, 120); });
  update();
})();`;
