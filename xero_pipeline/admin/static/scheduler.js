// The scheduler switch: starts and stops Dagster's schedule and sensors.

import { api } from "./api.js";
import { announce, byId, setText } from "./dom.js";

export function schedulerSwitch({ may, refresh, onSwitched }) {
  const button = byId("scheduler");
  let running = null;
  let pending = false;

  function show({ schedulerRunning, organisations }) {
    running = schedulerRunning;
    if (!pending) paint(organisations.length > 0);
  }

  function paint(connected = true) {
    const unknown = running === null || running === undefined;
    button.setAttribute("aria-checked", String(running === true));
    button.disabled = !may.operate || pending || unknown || (!connected && running !== true);
    button.classList.toggle("busy", pending);
    const state = byId("scheduler-state");
    state.dataset.tone = unknown ? "bad" : running ? "good" : "quiet";
    state.textContent = unknown
      ? "Dagster does not answer. Start it, and this switch comes back by itself."
      : running
        ? "On"
        : connected
          ? "Off"
          : "Off. Connect first.";
    if (!may.operate && !unknown) state.textContent = `${running ? "On" : "Off"}. Your role does not switch it.`;
  }

  button.addEventListener("click", async () => {
    const turnOn = running !== true;
    pending = true;
    setText(byId("scheduler-error"), null);
    paint();
    byId("scheduler-state").textContent = turnOn ? "Starting…" : "Stopping…";
    try {
      running = (await api.scheduler(turnOn)).running;
      announce(running ? "The scheduler is on." : "The scheduler is off.");
      onSwitched();
    } catch (error) {
      setText(byId("scheduler-error"), error.message);
      await refresh();
    } finally {
      pending = false;
      paint();
      if (document.activeElement === document.body) button.focus();
    }
  });

  return { show };
}
