// Fills the list "On this page" from the headings.
const list = document.querySelector("#toc");
if (list) {
  const links = [...document.querySelectorAll("main h2, main h3")].flatMap((heading) => {
    const id = heading.id || heading.closest(".section[id]")?.id;
    if (!id || heading.hasAttribute("data-toc-skip")) return [];
    const link = document.createElement("a");
    link.href = "#" + encodeURIComponent(id);
    // Without the sign with which pkgdown marks the heading's own link.
    const words = heading.cloneNode(true);
    words.querySelectorAll(".anchor").forEach((anchor) => anchor.remove());
    link.textContent = words.textContent.trim();
    link.className = heading.localName;
    return [link];
  });
  if (links.length > 1) list.append(...links);
  else list.hidden = true;
}
