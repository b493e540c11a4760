const words = document.getElementById("words");
document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  words.textContent = "";
  const given = { name: document.getElementById("name").value.trim(), password: document.getElementById("password").value };
  try {
    const answer = await fetch("login", { method: "POST", body: JSON.stringify(given), headers: { "Content-Type": "application/json" } });
    if (answer.ok) location.replace("./");
    else words.textContent = (await answer.json()).errors.join(" ");
  } catch {
    words.textContent = "The server does not answer.";
  }
});
