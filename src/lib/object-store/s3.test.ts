// Goal: what an S3 server does wrong comes out as the right error, is tried again where that helps, and an own object met
// after a lost reply is never mistaken for success or lost. Method: faults at the in-repo S3 server.

import { expect, test } from 'bun:test'
import { S3Double, type S3Fault } from '../../../test/support/s3-double.ts'
import { until } from '../../../test/support/wait.ts'
import { fromUtf8, utf8 } from '../bytes.ts'
import { SimClock } from '../clock.ts'
import { freePort } from '../free-port.ts'
import { ObjectExistsError, type ObjectStore, ObjectStoreError } from './object-store.ts'
import { openObjectStore } from './open.ts'

function open(double: S3Double, change: { secretKey?: string; bucket?: string; endpoint?: string } = {}) {
  return openObjectStore({
    kind: 's3',
    endpoint: change.endpoint ?? double.endpoint,
    region: double.region,
    bucket: change.bucket ?? double.bucket,
    prefix: 'fleet',
    credentials: { accessKeyId: double.accessKey, secretAccessKey: change.secretKey ?? double.secretKey },
  })
}

/** The fault for the first request, then none. */
function once(fault: S3Fault): () => S3Fault | null {
  let isDone = false
  return () => {
    if (isDone) return null
    isDone = true
    return fault
  }
}

async function failureOf(work: Promise<unknown>): Promise<ObjectStoreError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ObjectStoreError)
  return error as ObjectStoreError
}

test('passing failures are tried again', async () => {
  await using double = await S3Double.start()
  const store = await open(double)
  const faults: S3Fault[] = [
    { type: 'status', status: 500, code: 'InternalError' },
    { type: 'status', status: 503, code: 'SlowDown' },
    { type: 'status', status: 409, code: 'ConditionalRequestConflict' },
    { type: 'broken' },
  ]
  for (const [index, fault] of faults.entries()) {
    double.fault = once(fault)
    await store.put(`k${index}`, utf8('value'), { createOnly: true })
    expect(fromUtf8(await store.get(`k${index}`))).toBe('value')
  }
  double.fault = once({ type: 'lost-reply' })
  expect(fromUtf8(await store.get('k0'))).toBe('value')
  await store.put('long', new Uint8Array(100_000).fill(7))
  double.fault = once({ type: 'cut-body' })
  expect((await store.get('long')).every((byte) => byte === 7)).toBe(true)
  await store.close()
})

test('a create-only write whose reply was lost meets its own object', async () => {
  await using double = await S3Double.start()
  const store = await open(double)
  double.fault = once({ type: 'lost-reply' })
  await expect(store.put('slot', utf8('mine'), { createOnly: true })).rejects.toBeInstanceOf(ObjectExistsError)
  expect(fromUtf8(await store.get('slot'))).toBe('mine')
  await store.close()
})

test('a server that keeps failing ends in an error that says so, after bounded attempts', async () => {
  await using double = await S3Double.start()
  const store = await open(double)
  double.fault = () => ({ type: 'status', status: 500, code: 'InternalError' })
  const error = await failureOf(store.put('k', utf8('v')))
  expect([error.status, error.retryable]).toEqual([500, true])
  expect(double.counts.get('put')).toBe(4)
  expect(double.objects.size).toBe(0)
  await store.close()
})

test('what cannot pass is not tried again: credentials, rights, bucket', async () => {
  await using double = await S3Double.start()
  const refused = async (store: ObjectStore, status: number) => {
    const before = double.counts.get('put') ?? 0
    const error = await failureOf(store.put('k', utf8('v')))
    expect([error.status, error.retryable]).toEqual([status, false])
    expect(error.message).toContain(store.description)
    expect(error.message).not.toContain('secret')
    expect((double.counts.get('put') ?? 0) - before).toBe(1)
    await store.close()
  }
  await refused(await open(double, { secretKey: 'wrong' }), 403)
  await refused(await open(double, { bucket: 'no-such-bucket' }), 404)
  double.fault = () => ({ type: 'status', status: 403, code: 'AccessDenied' })
  await refused(await open(double), 403)
})

test('a missing bucket is an error, never an absent object', async () => {
  await using double = await S3Double.start()
  const store = await open(double, { bucket: 'no-such-bucket' })
  await failureOf(store.get('k'))
  await failureOf(store.list({ prefix: '' }))
  await store.close()
})

test('a connection that swallows everything costs seconds, also where the size of the answer is not known', async () => {
  let connections = 0
  const silent = Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: { open: () => void connections++, data: () => {} },
  })
  const clock = new SimClock()
  const store = await openObjectStore(
    {
      kind: 's3',
      endpoint: `http://127.0.0.1:${silent.port}`,
      region: 'r',
      bucket: 'b',
      prefix: '',
      credentials: { accessKeyId: 'a', secretAccessKey: 's' },
    },
    { clock },
  )
  let isSettled = false
  const failing = failureOf(store.get('k')).finally(() => {
    isSettled = true
  })
  for (let heard = 0; !isSettled; heard = connections) {
    await until('an attempt or the end', () => connections > heard || isSettled)
    await clock.advance(20_000)
    await until('the pause behind it', () => clock.pendingTimers > 0 || isSettled)
    await clock.advance(2_000)
  }
  expect([(await failing).status, (await failing).retryable]).toEqual([null, true])
  expect(connections).toBe(4)
  await store.close()
  silent.stop(true)
})

test('an unreachable server is named', async () => {
  await using double = await S3Double.start()
  const endpoint = `http://127.0.0.1:${freePort()}`
  const store = await open(double, { endpoint })
  const error = await failureOf(store.get('k'))
  expect([error.status, error.retryable]).toEqual([null, true])
  expect(error.message).toContain(endpoint)
  await store.close()
})
