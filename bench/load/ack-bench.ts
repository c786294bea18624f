// How long an answer to a write takes, by the mode of its acknowledgement: three nodes as processes on this machine, one of
// them the owner, requests straight to its worker, one after another.

import { Nodes } from '../../test/support/nodes.ts'
import type { Figure } from '../report.ts'

export interface AckSize {
  readonly writes: number
  /** Not measured: the first ones compile. */
  readonly warmUp: number
}

export const fullAck: AckSize = { writes: 1_000, warmUp: 100 }
export const smokeAck: AckSize = { writes: 10, warmUp: 1 }

const modes = ['async', 'quorum', 'sync', 'quorum+sync'] as const

/** The store is a directory, so `sync` costs a file and its fsync here, and a network's round trip elsewhere. */
export async function benchAck({ writes, warmUp }: AckSize): Promise<Figure[]> {
  await using nodes = new Nodes()
  const [owner, standby] = await Promise.all([nodes.start('a'), nodes.start('b')])
  const figures: Figure[] = []
  for (const mode of modes) {
    const id = await nodes.createTenant(owner, { ackMode: mode })
    const standbys = mode.startsWith('quorum') ? [standby.id] : undefined
    nodes.place(id, owner, 2, { ackMode: mode }, standbys)
    const times: number[] = []
    for (let n = 0; n < warmUp + writes; n++) {
      const startedAtMs = performance.now()
      const status = await nodes.write(id, owner, 2, `write ${n}`)
      if (status !== 200) throw new Error(`${mode}: write ${n} was answered ${status}`)
      if (n >= warmUp) times.push(performance.now() - startedAtMs)
    }
    times.sort((a, b) => a - b)
    for (const [name, share] of [
      ['p50', 0.5],
      ['p99', 0.99],
    ] as const)
      figures.push({ name: `ack ${mode} ${name}`, value: times[Math.floor(share * (times.length - 1))]!, unit: 'ms' })
  }
  return figures
}
