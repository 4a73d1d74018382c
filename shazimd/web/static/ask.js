// Drop, paste or choose a picture, on any page: "have we had this before?"
export function acceptPictures(visit) {
  const drop = document.getElementById("drop");
  let depth = 0;
  addEventListener("dragenter", (event) => { if (hasFile(event)) { depth += 1; drop.hidden = false; } });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); drop.hidden = depth === 0; });
  addEventListener("dragover", (event) => { if (hasFile(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    drop.hidden = true;
    const [file] = event.dataTransfer.files;
    if (!file) return;
    event.preventDefault();
    ask(file);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) ask(file);
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches(".ask input[type=file]") && event.target.files[0]) ask(event.target.files[0]);
  });

  async function ask(file) {
    const body = new FormData();
    body.append("picture", file);
    await visit("/ask", { body });
    const image = new Image();
    image.alt = file.name;
    image.src = URL.createObjectURL(file);
    image.onerror = () => image.remove();
    document.getElementById("preview")?.replaceChildren(image);
  }
}

function hasFile(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}
