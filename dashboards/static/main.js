// Starts what the page needs. Every page is whole without any of this.

import { startActions } from "./actions.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startTimes } from "./times.js";
import { startTools } from "./tools.js";
import { startWall } from "./wall.js";

startTimes();
startKeys();
startActions();
startTools();
startWall();
startLive();

const retry = document.querySelector("[data-retry]");
if (retry) setTimeout(() => location.reload(), Number(retry.dataset.retry) * 1000);
