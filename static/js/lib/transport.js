/**
 * Sends one request of files by XMLHttpRequest: the only way a browser tells how many bytes have gone.
 *
 * @typedef {{name: string, status: "created" | "duplicate" | "refused", image_id: number | null, detail: string | null}} Result
 */

const RETRIES = 3;
const WAIT_MS = 1500;

export class Refused extends Error {}
export class Cancelled extends Error {}

/** Return the sentence for an answer that is no success. @param {number} status @param {string} text @returns {string} */
export function reason(status, text) {
  try {
    const problem = JSON.parse(text);
    if (typeof problem.detail === "string") return problem.detail;
  } catch {
    // Not a problem document: the status has to do.
  }
  if (status === 401) return "You have been signed out. Sign in again, then retry.";
  if (status === 403) return "You may not add images to this project.";
  if (status === 413) return "Too large for this server.";
  return `The server could not take it (${status}).`;
}

/** May the same request succeed later? 0 is no connection. @param {number} status */
export const isPassing = (status) => status === 0 || status === 429 || status === 502 || status === 503 || status === 504;

/** @param {string} url @param {FormData} body @param {(bytes: number) => void} onSent @param {AbortSignal} signal @returns {Promise<{status: number, text: string, retryAfter: number}>} */
function once(url, body, onSent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("X-Requested-With", "kizu");
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onload = () => resolve({ status: request.status, text: request.responseText, retryAfter: Number(request.getResponseHeader("Retry-After")) || 0 });
    request.onerror = () => resolve({ status: 0, text: "", retryAfter: 0 });
    request.onabort = () => reject(new Cancelled());
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

/** Send and return the results, trying again while the trouble may pass.
 * @param {string} url @param {() => FormData} makeBody @param {(bytes: number) => void} onSent @param {AbortSignal} signal @returns {Promise<{results: Result[], counts?: object}>}
 * @throws {Refused} with a sentence for the reader @throws {Cancelled} */
export async function send(url, makeBody, onSent, signal) {
  for (let attempt = 0; ; attempt += 1) {
    if (signal.aborted) throw new Cancelled();
    const { status, text, retryAfter } = await once(url, makeBody(), onSent, signal);
    if (status >= 200 && status < 300) {
      try {
        const answer = JSON.parse(text);
        if (Array.isArray(answer.results)) return answer;
      } catch {
        // Falls through to the sentence below.
      }
      throw new Refused("The server's answer could not be read.");
    }
    if (!isPassing(status) || attempt >= RETRIES) throw new Refused(status === 0 ? "No connection to the server." : reason(status, text));
    onSent(0);
    await new Promise((resolve) => setTimeout(resolve, Math.max(retryAfter * 1000, WAIT_MS * 2 ** attempt)));
  }
}
