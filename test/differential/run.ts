// The differential test by hand: `bun test/differential/run.ts [seed] [requests]` prints every difference.

import { peer } from '../support/peers.ts'
import { differ } from './differ.ts'

const [seed = '1', count = '1000'] = process.argv.slice(2)
const binary = peer('pocketbase')
if (binary === null) throw new Error('missing peer: pocketbase')
const { differences, statuses } = await differ(binary, Number(seed), Number(count))
for (const { request, theirs, ours } of differences) {
  console.log(
    `${request.method} ${decodeURIComponent(request.path)} caller=${request.caller} ${JSON.stringify(request.body)}`,
  )
  console.log(`  theirs: ${theirs.slice(0, 600)}`)
  console.log(`  ours:   ${ours.slice(0, 600)}`)
}
console.log([...statuses].map(([status, n]) => `${status}: ${n}`).join('  '))
console.log(`${differences.length} differences in ${count} requests (seed ${seed})`)
process.exit(differences.length === 0 ? 0 : 1)
