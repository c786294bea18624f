// A control plane as a process of its own, for tests that kill it: prints where it is as one JSON line, then goes on for as long
// as its standard input is open.

import { openMember } from '../support/member.ts'

const [dir] = process.argv.slice(2) as [string]
const timings = { heartbeatMs: 50, degradedAfterMs: 30_000, downAfterMs: 60_000, reconcileMs: 100, orderMs: 3_000 }
const { httpUrl, ipcAddress, firstAdminToken } = await openMember(dir, { timings })
process.stdout.write(`${JSON.stringify({ httpUrl, ipcAddress, firstAdminToken })}\n`)
for await (const _ of Bun.stdin.stream());
process.exit(1)
