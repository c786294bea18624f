// A tenant node as a process of its own, so that it can be stopped and go on. Its standard input is its configuration, as
// one JSON line, and its life line: a test that is killed leaves no node behind.

import { systemClock as clock } from '../../src/lib/clock.ts'
import { readLifeLine } from '../../src/lib/life-line.ts'
import { createLogger } from '../../src/lib/obs/log.ts'
import { systemRng as rng } from '../../src/lib/rng.ts'
import type { TenantNodeConfig } from '../../src/node/config.ts'
import { openTenantNode } from '../../src/node/supervisor.ts'

const { config: raw, ended } = await readLifeLine()
void ended.then(() => process.kill(process.pid, 'SIGKILL'))
const config = raw as TenantNodeConfig // written by spawnNode
const log = createLogger({ level: config.logLevel, format: 'text', now: clock.now })
await openTenantNode(config, { clock, rng, log })
