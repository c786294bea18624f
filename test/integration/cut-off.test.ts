// Goal: a node that hears of neither store nor control plane goes on for ten seconds and then takes no writes, while reads
// go on; it takes them again when either is back. Method: a real node whose connections are cut by a proxy before the store
// and a control plane that does not answer.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { FaultProxy } from '../support/fault-proxy.ts'
import { Nodes } from '../support/nodes.ts'
import { S3Double } from '../support/s3-double.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000)

test('ten seconds without store and control plane', async () => {
  await using store = await S3Double.start()
  await using proxy = await FaultProxy.start(store.endpoint)
  await using nodes = new Nodes()
  const credentials = { accessKeyId: store.accessKey, secretAccessKey: store.secretKey }
  const { bucket, region } = store
  const objectStore = { kind: 's3', endpoint: proxy.endpoint, region, bucket, prefix: '', credentials } as const
  const node = await nodes.start('a', { objectStore })
  const id = await nodes.createTenant(node, { ackMode: 'async' })
  expect(await nodes.write(id, node, 1, 'before')).toBe(200)

  proxy.isCut = true
  const storeAlone = performance.now()
  await until('half a second of writes without the store', async () => {
    expect(await nodes.write(id, node, 1, 'store away')).toBe(200)
    return performance.now() - storeAlone > 500
  })
  nodes.control.cut(node.id)
  const cutAtMs = performance.now()
  await until('writes to be refused', async () => {
    const status = await nodes.write(id, node, 1, 'both away')
    if (status !== 503) expect(status).toBe(200)
    return status === 503
  })
  // The lease that the node still had comes on top; less than ten seconds would be too soon.
  expect(performance.now() - cutAtMs).toBeGreaterThan(9_500)
  const stored = await nodes.texts(id, node, 1)
  expect(await nodes.write(id, node, 1, 'never applied')).toBe(503)
  expect(await nodes.texts(id, node, 1)).toEqual(stored)

  proxy.isCut = false
  await until('the store to be enough', async () => (await nodes.write(id, node, 1, 'store back')) === 200)
  nodes.control.mend(node.id)
  const texts = await nodes.texts(id, node, 1)
  expect(texts.has('store back') && !texts.has('never applied')).toBe(true)
})
