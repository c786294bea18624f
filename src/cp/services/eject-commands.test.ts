// Goal: the commands are exactly those, and nothing in a name can leave its word. The official tools run them in
// `test/integration/eject.test.ts`.

import { expect, test } from 'bun:test'
import type { TenantId } from '../../lib/brand.ts'
import { ejectCommands } from './eject-commands.ts'

const tenantId = 'abcdefghij12345' as TenantId

test('S3 with an endpoint of its own, and AWS', () => {
  const location = { kind: 's3', endpoint: 'http://minio:9000', region: 'eu-1', bucket: 'b', prefix: 'pf' } as const
  const input = {
    location,
    objectPrefix: '',
    tenantId,
    replicaEpoch: null,
    directory: '/srv/pb_data/',
    atMs: 1_700_000_000_000,
  }
  const commands = ejectCommands(input)
  expect(commands.databases[0]).toEqual({
    name: 'data.db',
    url: 's3://b/pf/t/abcdefghij12345/data.db?endpoint=http%3A%2F%2Fminio%3A9000&forcePathStyle=true&region=eu-1',
    restore:
      "litestream restore -o /srv/pb_data/data.db 's3://b/pf/t/abcdefghij12345/data.db?endpoint=http%3A%2F%2Fminio%3A9000&forcePathStyle=true&region=eu-1'",
  })
  expect(commands.restoreAt[0]).toBe(
    'litestream restore -config litestream.yml -timestamp 2023-11-14T22:13:20.000500Z -o /srv/pb_data/data.db /srv/pb_data/data.db',
  )
  expect(commands.config).toStartWith(
    'dbs:\n  - path: "/srv/pb_data/data.db"\n    replica:\n      type: s3\n      bucket: "b"\n      path: "pf/t/abcdefghij12345/data.db"\n      region: "eu-1"\n      endpoint: "http://minio:9000"\n      force-path-style: true\n',
  )
  expect(commands.environment).toContain('LITESTREAM_SECRET_ACCESS_KEY')
  const aws = ejectCommands({ ...input, location: { ...location, endpoint: null }, atMs: null })
  expect(aws.databases[2]?.url).toBe('s3://b/pf/t/abcdefghij12345/hooks.db?region=eu-1')
  expect(aws.config).not.toContain('endpoint')
  expect(aws.files).toBe('s3://b/pf/t/abcdefghij12345/files/')
})

test('a directory, with names that a shell would take apart', async () => {
  const location = { kind: 'file', dir: "/srv/it's here" } as const
  const { databases, config } = ejectCommands({
    location,
    objectPrefix: 'x',
    tenantId,
    replicaEpoch: 7,
    directory: '/tmp/$(touch hacked); `id`',
    atMs: null,
  })
  const line = databases[0]!.restore.replace('litestream restore', 'printf "%s\\n"')
  const words = await new Response(Bun.spawn(['sh', '-c', line]).stdout).text()
  expect(words.split('\n').slice(0, 3)).toEqual([
    '-o',
    '/tmp/$(touch hacked); `id`/data.db',
    "file:///srv/it's here/x/t/abcdefghij12345/data.db/e7",
  ])
  expect(config).toContain(`path: "/srv/it's here/x/t/abcdefghij12345/data.db/e7"`)
})
