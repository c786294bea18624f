// A progress bar on standard error, for people; nothing where it would end up in a file.

import { systemClock } from '../lib/clock.ts'

const width = 30
/** Between two drawings, ms. */
const redrawMs = 100

export class Progress {
  readonly #label: string
  readonly #total: number
  readonly #isShown = process.stderr.isTTY === true
  readonly #startedAtMs = systemClock.monotonic()
  #done = 0
  #drawnAtMs = 0

  /** @param total bytes. */
  constructor(label: string, total: number) {
    this.#label = label
    this.#total = total
  }

  add(bytes: number): void {
    this.#done += bytes
    const nowMs = systemClock.monotonic()
    if (!this.#isShown || nowMs - this.#drawnAtMs < redrawMs) return
    this.#drawnAtMs = nowMs
    this.#draw(nowMs)
  }

  end(): void {
    if (!this.#isShown) return
    this.#draw(systemClock.monotonic())
    process.stderr.write('\n')
  }

  #draw(nowMs: number): void {
    const share = this.#total === 0 ? 1 : Math.min(1, this.#done / this.#total)
    const filled = Math.round(share * width)
    const rate = this.#done / 1e6 / Math.max(0.001, (nowMs - this.#startedAtMs) / 1_000)
    const bar = '█'.repeat(filled) + '░'.repeat(width - filled)
    process.stderr.write(`\r${this.#label} ${bar} ${(share * 100).toFixed(0)} %  ${rate.toFixed(1)} MB/s `)
  }
}
