/** Server-sent events parsed from a stream of bytes; each byte is looked at once, however long an event is. */
export class EventParser {
  #decoder = new TextDecoder();
  /** What is there of a line that has not ended. */
  #rest = "";
  #event = { id: "", event: "message" };
  /** @type {string[]} */
  #data = [];

  /**
   * @param {Uint8Array} bytes
   * @returns {{id: string, event: string, data: string}[]} the events that are whole now
   */
  push(bytes) {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    const events = [];
    for (const line of lines) {
      if (line) this.#line(line);
      else {
        if (this.#data.length) events.push({ ...this.#event, data: this.#data.join("\n") });
        this.#event = { id: "", event: "message" };
        this.#data = [];
      }
    }
    return events;
  }

  /** @param {string} line */
  #line(line) {
    const colon = line.indexOf(":");
    if (colon < 1) return;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const name = line.slice(0, colon);
    if (name === "data") this.#data.push(value);
    else if (name === "id" || name === "event") this.#event[name] = value;
  }
}
