// After too many wrong tokens, disables the button and counts the seconds down.

const retry = document.getElementById("retry");
const button = document.getElementById("login-button");
let secondsLeft = Number(retry?.dataset.retryAfter ?? 0);

function tick() {
  if (!retry) return;
  button.disabled = secondsLeft > 0;
  retry.textContent = secondsLeft > 0 ? `Try again in ${secondsLeft} ${secondsLeft === 1 ? "second" : "seconds"}.` : "You can try again now.";
  if (secondsLeft > 0) {
    secondsLeft -= 1;
    window.setTimeout(tick, 1000);
  }
}

tick();
