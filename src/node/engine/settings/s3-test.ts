// Whether the bucket of the settings can be written, listed and cleaned: what files and backups will do with it.

import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { AppError, errorMessage } from '../../../lib/errors.ts'
import { randomText } from '../../../lib/id.ts'
import type { Rng } from '../../../lib/rng.ts'
import { isPublicAddress } from '../auth/oauth2/outbound.ts'
import type { S3Settings } from './settings.ts'

/** The bucket cannot be used; the message says which step failed and why. */
export class S3TestError extends AppError {
  readonly code = 's3_test'
}

export interface S3TestDeps {
  readonly rng: Rng
  readonly mayReachPrivate: boolean
}

/** Writes, lists and deletes one small object. Fails with S3TestError. */
export async function testS3(s3: S3Settings, deps: S3TestDeps): Promise<void> {
  if (!s3.enabled) throw new S3TestError('S3 storage filesystem is not enabled')
  const endpoint = /^https?:\/\//.test(s3.endpoint) ? s3.endpoint : `https://${s3.endpoint}`
  if (!deps.mayReachPrivate) await checkPublic(endpoint)
  const client = new Bun.S3Client({
    bucket: s3.bucket,
    region: s3.region,
    endpoint,
    accessKeyId: s3.accessKey,
    secretAccessKey: s3.secret,
    virtualHostedStyle: !s3.forcePathStyle,
  })
  const prefix = `pb_settings_test_${randomText(deps.rng, 5)}`
  const key = `${prefix}/test.txt`
  await step('failed to upload a test file', () => client.write(key, 'test'))
  const listed = await step('failed to list the test file', () => client.list({ prefix }))
  if (!listed.contents?.some((object) => object.key === key)) throw new S3TestError('the test file was not listed')
  await step('failed to delete a test file', () => client.delete(key))
}

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw new S3TestError(`${what}: ${errorMessage(cause)}`, { cause })
  }
}

async function checkPublic(endpoint: string): Promise<void> {
  const { hostname } = new URL(endpoint)
  const host = hostname.replace(/^\[|\]$/g, '')
  const addresses = await step('failed to resolve the endpoint', async () =>
    isIP(host) === 0 ? (await lookup(host, { all: true })).map(({ address }) => address) : [host],
  )
  if (!addresses.every(isPublicAddress))
    throw new S3TestError('the endpoint has an address that cannot be used from here')
}
