// Too many wrong tokens: the button waits, and says how long.

const retry = document.getElementById("retry");
const button = document.getElementById("login-button");
let left = Number(retry?.dataset.retryAfter ?? 0);

function tick() {
  if (!retry) return;
  button.disabled = left > 0;
  retry.textContent = left > 0 ? `Try again in ${left} ${left === 1 ? "second" : "seconds"}.` : "You can try again now.";
  if (left > 0) {
    left -= 1;
    window.setTimeout(tick, 1000);
  }
}

tick();
