// A gateway in a process of its own, for tests that need its real limits: configuration as one JSON line on standard
// input, its address as one line on standard output; ends when standard input does.

import { openGateway } from '../../src/gw/gateway.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { Metrics } from '../../src/lib/obs/metrics.ts'
import { systemRng } from '../../src/lib/rng.ts'

for await (const line of console) {
  const { secret, controlPlane } = JSON.parse(line) as { secret: string; controlPlane: string }
  const gateway = await openGateway(
    {
      http: { host: '127.0.0.1', port: 0 },
      https: null,
      controlPlane: [controlPlane],
      baseDomain: 'fleet.test',
      secrets: clusterSecrets(secret),
    },
    { clock: systemClock, rng: systemRng, log: silentLogger, metrics: new Metrics() },
  )
  console.log(gateway.httpUrl)
}
process.exit()
