// Goal: the main job works with its objects on a real S3 server. Method: MinIO, in a directory of its own.

import { expect } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runDemo } from '../support/demo.ts'
import { startMinio } from '../support/minio.ts'
import { testWithPeers } from '../support/peers.ts'

testWithPeers(
  ['minio'],
  'a fleet survives on S3 alone',
  async ({ minio: path }) => {
    const dir = mkdtempSync(join(tmpdir(), 'pf-demo-s3-'))
    await using minio = await startMinio(path, join(dir, 'minio'))
    try {
      const steps = await runDemo({
        dir: join(dir, 'fleet'),
        kind: 'source',
        storeFlags: [`--s3-endpoint=${minio.endpoint}`, `--s3-bucket=${minio.bucket}`],
        env: { S3_ACCESS_KEY: minio.accessKey, S3_SECRET_KEY: minio.secretKey },
      })
      expect(steps.at(-1)?.title).toBe('stop gracefully')
    } finally {
      await minio.stop()
      rmSync(dir, { recursive: true, force: true })
    }
  },
  240_000,
)
