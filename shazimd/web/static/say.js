let hide;

export const main = () => document.getElementById("main");

/** Show a short message, which a screen reader reads out. */
export function say(text, problem = false) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.className = problem ? "shown problem" : "shown";
  clearTimeout(hide);
  hide = setTimeout(() => { place.className = ""; }, problem ? 8000 : 2600);
}
