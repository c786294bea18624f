// The differential test by hand: `bun test/differential/run.ts [seed] [requests]` prints every difference.

import { peer } from '../support/peers.ts'
import { differ } from './differ.ts'

const [seed = '1', count = '1000'] = process.argv.slice(2)
const binary = peer('pocketbase')
if (binary === null) throw new Error('missing peer: pocketbase')
const { differences, statuses, events } = await differ(binary, Number(seed), Number(count))
for (const { request, theirs, ours } of differences) {
  console.log(
    `${request.method} ${readable(request.path)} caller=${request.caller} ${JSON.stringify(request.body ?? request.form ?? '', shortBytes)}`,
  )
  const at = firstDifference(theirs, ours)
  console.log(`  theirs: ${around(theirs, at)}`)
  console.log(`  ours:   ${around(ours, at)}`)
}
console.log(`${events} realtime events`)
console.log([...statuses].map(([status, n]) => `${status}: ${n}`).join('  '))
console.log(`${differences.length} differences in ${count} requests (seed ${seed})`)
process.exit(differences.length === 0 ? 0 : 1)

function firstDifference(a: string, b: string): number {
  let at = 0
  while (at < a.length && a[at] === b[at]) at++
  return at
}

/** The start, which has the status, and what stands around a position. */
function around(text: string, at: number): string {
  const from = Math.max(0, at - 120)
  return from < 60 ? text.slice(0, at + 400) : `${text.slice(0, 40)} … ${text.slice(from, at + 300)}`
}

/** Paths hold bad escapes on purpose. */
function readable(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function shortBytes(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? `${value.length} bytes` : value
}
