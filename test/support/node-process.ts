// A tenant node as a process of its own, so that it can be stopped and go on. Started by nodes.ts.
//   argv: the configuration as JSON

import { systemClock as clock } from '../../src/lib/clock.ts'
import { createLogger } from '../../src/lib/obs/log.ts'
import { systemRng as rng } from '../../src/lib/rng.ts'
import type { TenantNodeConfig } from '../../src/node/config.ts'
import { openTenantNode } from '../../src/node/supervisor.ts'

const config = JSON.parse(process.argv[2]!) as TenantNodeConfig
const log = createLogger({ level: config.logLevel, format: 'text', now: clock.now })
await openTenantNode(config, { clock, rng, log })
