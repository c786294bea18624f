// Goal: the printed commands, run as they are by a shell with official Litestream, make byte for byte what we restore, as of
// now and of a moment before, from a directory and from S3; after a hand-over the official replicator goes on.
// Method: a real fleet, its command line, and the peers.

import { Database as Sqlite } from 'bun:sqlite'
import { expect } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { type ObjectStoreConfig, openObjectStore } from '../../src/lib/object-store/open.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'
import { sha256 } from '../replication/histories.ts'
import { run } from '../replication/official.ts'
import { Fleet } from '../support/fleet.ts'
import { startMinio } from '../support/minio.ts'
import { testWithPeers } from '../support/peers.ts'
import { until } from '../support/wait.ts'

const superuser = { email: 'root@example.com', password: 'a-long-password' }
const names = ['data.db', 'auxiliary.db', 'hooks.db'] as const

interface Setup {
  readonly dir: string
  readonly fleet: Fleet
  readonly tenantId: string
  readonly litestream: string
  /** Where our own restore reads. */
  readonly store: ObjectStoreConfig
  readonly env: Record<string, string>
}

async function withShop(
  options: Pick<Setup, 'dir' | 'litestream' | 'store' | 'env'> & { readonly flags: readonly string[] },
  body: (setup: Setup) => Promise<void>,
): Promise<void> {
  const fleet = await Fleet.start({ dir: join(options.dir, 'fleet'), flags: ['--workers=1', ...options.flags] })
  try {
    const { email, password } = superuser
    const made = await fleet.cli([
      'tenant',
      'create',
      'shop',
      '--superuser',
      email,
      '--superuser-password',
      password,
      '--json',
    ])
    const client = fleet.sdk('shop')
    await client.collection('_superusers').authWithPassword(email, password)
    await client.collections.create({ name: 'notes', type: 'base', fields: [{ name: 'title', type: 'text' }] })
    await client.collection('notes').create({ title: 'then' })
    await body({ ...options, fleet, tenantId: (JSON.parse(made) as { id: string }).id })
  } finally {
    await fleet.killTree()
  }
}

/** Runs the printed text as it is, but for the keys, which a person fills in. */
async function runPrinted({ dir, litestream, env }: Setup, text: string): Promise<void> {
  const script = text.replace(/^export .*$/gm, '')
  await run(['sh', '-ec', `cd '${dir}'; PATH='${dirname(litestream)}':$PATH\n${script}`], env)
}

async function ownHash({ dir, store, tenantId }: Setup, name: string, txid: number | null): Promise<string> {
  const opened = await openObjectStore(store)
  const path = join(dir, `own-${txid}-${name}`)
  await restoreDatabase({ store: opened, prefix: `t/${tenantId}/${name}` }, path, { target: txid as Txid | null })
  await opened.close()
  return sha256(readFileSync(path))
}

async function expectEject(setup: Setup): Promise<void> {
  const { fleet, dir } = setup
  const points = JSON.parse(await fleet.cli(['tenant', 'restore-points', 'shop', '--json'])) as {
    latest: { at: string; txid: number }[]
  }
  const client = fleet.sdk('shop')
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collection('notes').create({ title: 'now' })

  const now = join(dir, 'now')
  const latest = JSON.parse(await fleet.cli(['tenant', 'eject', 'shop', '--directory', now, '--json'])) as {
    databases: { name: string; txid: number }[]
  }
  await runPrinted(setup, await fleet.cli(['tenant', 'eject', 'shop', '--directory', now]))
  for (const name of names) {
    // Requests of this very test are logged meanwhile, so of the logs only the newest state is known.
    const { txid } = name === 'auxiliary.db' ? { txid: null } : latest.databases.find((each) => each.name === name)!
    expect(sha256(readFileSync(join(now, name)))).toBe(await ownHash(setup, name, txid))
  }
  const [point] = points.latest
  const before = join(dir, 'before')
  await runPrinted(setup, await fleet.cli(['tenant', 'eject', 'shop', '--at', point!.at, '--directory', before]))
  expect(sha256(readFileSync(join(before, 'data.db')))).toBe(await ownHash(setup, 'data.db', point!.txid))
  const data = new Sqlite(join(before, 'data.db'))
  expect(data.query('SELECT title FROM notes').values()).toEqual([['then']])
  data.close()
}

testWithPeers(
  ['litestream'],
  'the printed commands, and a hand-over, with a directory as store',
  async ({ litestream }) => {
    const dir = mkdtempSync(join(tmpdir(), 'pf-eject-'))
    const store = { kind: 'file', dir: join(dir, 'fleet/objects') } as const
    try {
      await withShop({ dir, litestream, store, env: {}, flags: [] }, async (setup) => {
        await expectEject(setup)
        await expect(setup.fleet.cli(['tenant', 'eject', 'shop', '--hand-over'])).rejects.toThrow('--yes')
        const target = join(dir, 'mine')
        const text = await setup.fleet.cli(['tenant', 'eject', 'shop', '--directory', target, '--hand-over', '--yes'])
        const [commands, replicate] = text.trimEnd().split(/\n(?=litestream replicate)/)
        await runPrinted(setup, commands!)
        // A program of the owner's writes, the official replicator ships.
        const data = new Sqlite(join(target, 'data.db'))
        data.run('PRAGMA journal_mode = WAL')
        data.run("INSERT INTO notes (id, title) VALUES ('aaaaaaaaaaaaaaa', 'mine')")
        const child = Bun.spawn(replicate!.replace(/^litestream/, litestream).split(' '), {
          cwd: dir,
          stdout: 'ignore',
          stderr: 'ignore',
        })
        try {
          await until('the official replicator to ship', async () => {
            const path = join(dir, 'continued.db')
            const opened = await openObjectStore(store)
            await restoreDatabase({ store: opened, prefix: `t/${setup.tenantId}/data.db` }, path, { target: null })
            const continued = new Sqlite(path)
            const titles = continued.query('SELECT title FROM notes ORDER BY title').values().flat()
            continued.close()
            return titles.join() === 'mine,now,then'
          })
        } finally {
          child.kill('SIGKILL')
          await child.exited
          data.close()
        }
        // Nobody serves it by a slip while the other program may write.
        const activate = await fetch(`${setup.fleet.url}/api/cp/tenants/shop`, {
          method: 'PATCH',
          headers: { authorization: `Bearer ${setup.fleet.adminToken}`, 'content-type': 'application/json' },
          body: JSON.stringify({ status: 'active' }),
        })
        expect(activate.status).toBe(409)
        expect(await activate.text()).toContain('tenant take-back')
        await expect(setup.fleet.cli(['tenant', 'restore', 'shop', '--txid', '1', '--yes'])).rejects.toThrow(
          'handed over',
        )
        await expect(setup.fleet.cli(['tenant', 'take-back', 'shop'])).rejects.toThrow('--other-has-stopped')
        await setup.fleet.cli(['tenant', 'take-back', 'shop', '--other-has-stopped'])
        const client = setup.fleet.sdk('shop')
        await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
        const titles = (await client.collection('notes').getFullList()).map(({ title }) => title as string)
        expect(titles.sort()).toEqual(['mine', 'now', 'then'])
        await client.collection('notes').create({ title: 'ours again' })
        await expect(setup.fleet.cli(['tenant', 'take-back', 'shop', '--other-has-stopped'])).rejects.toThrow(
          'not handed over',
        )
      })
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  },
  120_000,
)

testWithPeers(
  ['litestream', 'minio'],
  'the printed commands, with S3',
  async ({ litestream, minio }) => {
    const dir = mkdtempSync(join(tmpdir(), 'pf-eject-'))
    try {
      await using server = await startMinio(minio, join(dir, 'minio'))
      const { endpoint, bucket, accessKey, secretKey } = server
      const store = {
        kind: 's3',
        endpoint,
        bucket,
        region: 'us-east-1',
        prefix: 'some/prefix',
        credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
      } as const
      const flags = [
        `--s3-endpoint=${endpoint}`,
        `--s3-bucket=${bucket}`,
        `--s3-prefix=${store.prefix}`,
        `--s3-access-key=${accessKey}`,
        `--s3-secret-key=${secretKey}`,
      ]
      const env = { LITESTREAM_ACCESS_KEY_ID: accessKey, LITESTREAM_SECRET_ACCESS_KEY: secretKey }
      await withShop({ dir, litestream, store, env, flags }, expectEject)
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  },
  120_000,
)
