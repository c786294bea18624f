// Whether the bucket of the settings can be written, listed and cleaned: what files and backups will do with it.
// PocketBase: forms/test_s3_filesystem.go.

import { AppError, errorMessage, TimeoutError } from '../../../lib/errors.ts'
import { randomText } from '../../../lib/id.ts'
import { openTenantBucket, type TenantBucketDeps } from '../files/tenant-bucket.ts'
import type { S3Settings } from './settings.ts'

/** Somebody waits in front of the dashboard, ms. */
const deadlineMs = 20_000

/** The bucket cannot be used; the message says which step failed and why. */
export class S3TestError extends AppError {
  readonly code = 's3_test'
}

/** Writes, lists and deletes one small object. Fails with S3TestError. */
export async function testS3(s3: S3Settings, deps: TenantBucketDeps): Promise<void> {
  if (!s3.enabled) throw new S3TestError('S3 storage filesystem is not enabled')
  const store = await step('failed to initialize the S3 filesystem', () => openTenantBucket(s3, deps))
  const deadline = new AbortController()
  const cancel = deps.clock.setTimer(deadlineMs, () =>
    deadline.abort(new TimeoutError(`no answer within ${deadlineMs} ms`)),
  )
  const { signal } = deadline
  try {
    const prefix = `pb_settings_test_${randomText(deps.rng, 5)}/`
    const key = `${prefix}test.txt`
    const body = new TextEncoder().encode('test')
    await step('failed to upload a test file', () => store.put(key, body, { contentType: 'text/plain', signal }))
    await step('failed to delete a test file', async () => {
      const { objects } = await store.list({ prefix, signal })
      if (!objects.some((object) => object.key === key)) throw new S3TestError('it was not listed')
      await store.delete([key], { signal })
    })
  } finally {
    cancel()
    await store.close()
  }
}

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw new S3TestError(`${what}: ${errorMessage(cause)}`, { cause })
  }
}
