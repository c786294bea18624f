// What the leader knows about one other member, and how much it may send it.

import type { Index } from './types.ts'

/** Appends under way to one member at once; beyond it the leader waits for replies. */
export const inflightMax = 64

/**
 * probe: one append a heartbeat until we know where the logs meet. replicate: pipelined, `nextIndex` runs ahead.
 * snapshot: nothing but heartbeats until the snapshot has arrived.
 */
export type ProgressState = 'probe' | 'replicate' | 'snapshot'

export class Progress {
  state: ProgressState = 'probe'
  matchIndex: Index
  nextIndex: Index
  /** Heard from since the last check of the quorum. */
  isActive = true
  /** The last read-index round it confirmed. */
  round = 0
  /** Last index of each append under way, oldest first. */
  inflight: Index[] = []
  /** A probe is under way: wait for its reply or for the next heartbeat. */
  isPaused = false
  /** What the pending snapshot goes up to. */
  snapshotIndex = 0 as Index

  constructor(matchIndex: Index, nextIndex: Index) {
    this.matchIndex = matchIndex
    this.nextIndex = nextIndex
  }

  get maySend(): boolean {
    if (this.state === 'snapshot') return false
    return this.state === 'probe' ? !this.isPaused : this.inflight.length < inflightMax
  }

  acknowledged(index: Index): void {
    if (index > this.matchIndex) this.matchIndex = index
    this.nextIndex = Math.max(this.nextIndex, index + 1) as Index
    this.inflight = this.inflight.filter((last) => last > index)
    if (this.state === 'snapshot' && this.matchIndex < this.snapshotIndex) return
    if (this.state !== 'replicate') this.inflight = []
    this.state = 'replicate'
    this.isPaused = false
  }

  probeFrom(nextIndex: Index): void {
    this.state = 'probe'
    this.nextIndex = Math.max(this.matchIndex + 1, nextIndex) as Index
    this.inflight = []
    this.isPaused = false
  }

  snapshotSent(index: Index): void {
    this.state = 'snapshot'
    this.snapshotIndex = index
    this.inflight = []
  }
}
