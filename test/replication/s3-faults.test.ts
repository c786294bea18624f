// Goal: over S3 that fails, breaks connections and loses replies, nothing acknowledged is lost, the history has no hole,
// and an owner never takes its own file for another's. Method: seeded faults at the in-repo S3 server.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { S3Double, type S3Fault } from '../support/s3-double.ts'
import { Owner, restoredHash } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const faults: readonly S3Fault[] = [
  { type: 'lost-reply' },
  { type: 'broken' },
  { type: 'status', status: 503, code: 'SlowDown' },
  { type: 'status', status: 500, code: 'InternalError' },
]

for (const seed of [1, 2, 3])
  test(`writes acknowledged over a bad line are there, seed ${seed}`, async () => {
    await using double = await S3Double.start()
    const store = await openObjectStore({
      kind: 's3',
      endpoint: double.endpoint,
      region: double.region,
      bucket: double.bucket,
      prefix: '',
      credentials: { accessKeyId: double.accessKey, secretAccessKey: double.secretKey },
    })
    const rng = seededRng(seed)
    const acknowledged: string[] = []
    await using first = await Owner.create(store)
    double.fault = (operation) =>
      operation !== 'list' && rng.below(3) === 0 ? faults[rng.below(faults.length)]! : null
    for (let i = 0; i < 10; i++) {
      await first.insert(`${seed}-${i}`)
      await first.flush()
      acknowledged.push(`${seed}-${i}`)
    }
    expect(first.fencedBy).toBeNull()
    double.fault = null
    expect(await restoredHash(first.at, null)).toBe(first.hash())

    await using second = await Owner.open(store, 2)
    expect(second.values()).toEqual(acknowledged)
    await first.insert('too late')
    await expect(first.flush()).rejects.toMatchObject({ code: 'fenced' })
    expect(await restoredHash(first.at, null)).toBe(second.hash())
  }, 180_000)
