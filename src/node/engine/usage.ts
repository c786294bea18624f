// How much of the worker's one thread a tenant has used, as far as it is counted: its writes, its messages to realtime
// clients. Requests are counted where they come in.

export class Usage {
  #usedMs = 0

  /** Since the tenant was opened, ms. */
  get usedMs(): number {
    return this.#usedMs
  }

  add(ms: number): void {
    this.#usedMs += ms
  }
}
