// The live view: the node sends its page again every few seconds, as long as somebody looks. Without it nothing is missing.
const main = document.querySelector("main");
const live = document.querySelector("#live");
const source = new EventSource("/events");
source.onmessage = (event) => {
  // What somebody has just chosen or marked stays.
  if (main.contains(document.activeElement) || !getSelection().isCollapsed) return;
  main.innerHTML = event.data;
  live.textContent = "Live";
};
source.onerror = () => { live.textContent = "Not live: the node does not answer"; };
