// A real S3 server for tests: MinIO on a free loopback port, in a directory of the caller's.

import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { freePort } from '../../src/lib/free-port.ts'
import { until } from './wait.ts'

export interface Minio extends AsyncDisposable {
  readonly endpoint: string
  readonly bucket: string
  readonly accessKey: string
  readonly secretKey: string
  readonly pid: number
  stop(): Promise<void>
}

/**
 * Starts MinIO and makes one bucket.
 *
 * @param path the program, from `testWithPeers(['minio'], …)`.
 * @param dir where it keeps its objects; the caller deletes it.
 */
export async function startMinio(path: string, dir: string, bucket = 'pocketfleet-test'): Promise<Minio> {
  const accessKey = 'test-access-key'
  const secretKey = 'test-secret-key-of-minio'
  const port = freePort()
  const endpoint = `http://127.0.0.1:${port}`
  const child = Bun.spawn(
    [path, 'server', '--quiet', '--address', `127.0.0.1:${port}`, '--console-address', '127.0.0.1:0', dir],
    {
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'ignore',
      env: {
        ...process.env,
        MINIO_ROOT_USER: accessKey,
        MINIO_ROOT_PASSWORD: secretKey,
        MINIO_BROWSER: 'off',
        MINIO_PROMETHEUS_AUTH_TYPE: 'public',
        CI: '1',
      },
    },
  )
  const stop = async () => {
    child.kill('SIGKILL')
    await child.exited
  }
  try {
    await until('MinIO to be ready', async () => (await fetch(`${endpoint}/minio/health/ready`)).ok)
    const client = new S3Client({
      endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
    })
    await until('the bucket', async () => await client.send(new CreateBucketCommand({ Bucket: bucket })))
    client.destroy()
  } catch (error) {
    await stop()
    throw error
  }
  return { endpoint, bucket, accessKey, secretKey, pid: child.pid, stop, [Symbol.asyncDispose]: stop }
}
