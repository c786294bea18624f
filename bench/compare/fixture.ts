// The data of the comparison: a `pb_data` whose schema PocketBase itself made, filled by SQL from one seed. Every
// contestant starts on a copy of it, so that all of them answer the same requests with the same rows.

import { Database } from 'bun:sqlite'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Rng, seededRng } from '../../src/lib/rng.ts'
import { startServer, superuser, theirCommand } from './contestants.ts'

export interface FixtureSize {
  /** Rows of `posts10k`; the name stays whatever their number. */
  readonly posts: number
  /** Rows of `posts100k`. */
  readonly manyPosts: number
  readonly members: number
  /** Threads to be deleted, five replies each. */
  readonly threads: number
}

export const memberPassword = '1234567890'
export const organizations = 50
export const permissions = 30
export const repliesPerThread = 5
/** Bytes of the file that is downloaded. */
export const fileBytes = 64 * 1024
export const fileName = 'document_abcdefghij.txt'

/** The id of row `index` in a table; 15 characters, as PocketBase makes them. */
export function idOf(table: string, index: number): string {
  return `${table.slice(0, 4)}${String(index).padStart(11, '0')}`
}

const ids = { organizations: 'pbc_orgs000000', permissions: 'pbc_perms00000', members: 'pbc_members000' }
export const documentsId = 'pbc_documents0'

const times = [
  { id: 'f_created', name: 'created', type: 'autodate', onCreate: true, onUpdate: false },
  { id: 'f_updated', name: 'updated', type: 'autodate', onCreate: true, onUpdate: true },
]
const open = { listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' }

function relation(name: string, collectionId: string, maxSelect = 1, cascadeDelete = false) {
  return { id: `f_${name}`, name, type: 'relation', collectionId, maxSelect, cascadeDelete }
}

/** `author` has an index and `owner` none, with the same values, so that both kinds of rule meet the same rows. */
function postsCollection(name: string, id: string) {
  return {
    ...open,
    id,
    name,
    type: 'base',
    fields: [
      { id: 'f_title', name: 'title', type: 'text' },
      { id: 'f_description', name: 'description', type: 'editor' },
      { id: 'f_public', name: 'public', type: 'bool' },
      { id: 'f_n', name: 'n', type: 'number' },
      { id: 'f_type', name: 'type', type: 'select', maxSelect: 4, values: ['a', 'b', 'c', 'd'] },
      relation('author', ids.members),
      relation('owner', ids.members),
      ...times,
    ],
    indexes: [`CREATE INDEX idx_${name}_author ON ${name} (author)`],
  }
}

const collections = [
  {
    ...open,
    id: ids.organizations,
    name: 'organizations',
    type: 'base',
    fields: [{ id: 'f_name', name: 'name', type: 'text' }, ...times],
  },
  {
    ...open,
    id: ids.permissions,
    name: 'permissions',
    type: 'base',
    fields: [{ id: 'f_name', name: 'name', type: 'text' }, { id: 'f_active', name: 'active', type: 'bool' }, ...times],
  },
  {
    ...open,
    id: ids.members,
    name: 'members',
    type: 'auth',
    fields: [
      { id: 'f_name', name: 'name', type: 'text' },
      relation('organization', ids.organizations),
      relation('permissions', ids.permissions, 5),
      ...times,
    ],
  },
  postsCollection('posts10k', 'pbc_posts10k00'),
  postsCollection('posts100k', 'pbc_posts100k0'),
  // What creates go into: empty at first, so that no contestant's speed burdens its own reads.
  postsCollection('written', 'pbc_written000'),
  postsCollection('events', 'pbc_events0000'),
  {
    ...open,
    id: 'pbc_threads000',
    name: 'threads',
    type: 'base',
    fields: [{ id: 'f_title', name: 'title', type: 'text' }, ...times],
  },
  {
    ...open,
    id: 'pbc_replies000',
    name: 'replies',
    type: 'base',
    fields: [{ id: 'f_text', name: 'text', type: 'text' }, relation('thread', 'pbc_threads000', 1, true), ...times],
    indexes: ['CREATE INDEX idx_replies_thread ON replies (thread)'],
  },
  {
    ...open,
    id: documentsId,
    name: 'documents',
    type: 'base',
    fields: [{ id: 'f_file', name: 'file', type: 'file', maxSelect: 1 }],
  },
]

const words =
  'lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore'.split(
    ' ',
  )

/** The phrase of the text search; one post in twenty has it. */
export const rarePhrase = 'quis nostrud'

function text(rng: Rng, length: number): string {
  return Array.from({ length }, () => words[rng.below(words.length)]).join(' ')
}

/**
 * Makes the fixture in `dir`, which must not exist.
 *
 * @param binary PocketBase.
 */
export async function makeFixture(binary: string, dir: string, size: FixtureSize): Promise<void> {
  const made = Bun.spawnSync([binary, 'superuser', 'upsert', superuser.email, superuser.password, `--dir=${dir}`])
  if (made.exitCode !== 0) throw new Error(`superuser: ${made.stderr.toString()}`)
  const server = await startServer(theirCommand(binary, dir))
  try {
    await importCollections(`http://127.0.0.1:${server.port}`)
  } finally {
    await server.stop()
  }
  await fill(join(dir, 'data.db'), size)
  const folder = join(dir, 'storage', documentsId, idOf('documents', 0))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, fileName), text(seededRng(2), fileBytes).slice(0, fileBytes))
}

async function importCollections(url: string): Promise<void> {
  const call = async (method: string, path: string, token: string, body: unknown) => {
    const headers = { 'content-type': 'application/json', ...(token !== '' && { authorization: token }) }
    const answer = await fetch(url + path, { method, headers, body: JSON.stringify(body) })
    const answered = await answer.text()
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answered}`)
    return answered
  }
  const identity = { identity: superuser.email, password: superuser.password }
  const signedIn = await call('POST', '/api/collections/_superusers/auth-with-password', '', identity)
  const { token } = JSON.parse(signedIn) as { token: string }
  await call('PUT', '/api/collections/import', token, { collections })
}

async function fill(path: string, size: FixtureSize): Promise<void> {
  const rng = seededRng(1)
  const db = new Database(path)
  const at = '2026-01-01 00:00:00.000Z'
  // One hash for everybody: the cost is what is compared, and hashing thousands would take minutes.
  const hash = await Bun.password.hash(memberPassword, { algorithm: 'bcrypt', cost: 10 })
  const insert = (table: string, row: Record<string, string | number>) => {
    const columns = { ...row, created: at, updated: at }
    const names = Object.keys(columns)
    const sql = `INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`
    db.query(sql).run(...Object.values(columns))
  }
  const post = (table: string, index: number) => {
    const author = idOf('members', rng.below(size.members))
    const description = `<p>${text(rng, 20)}${index % 20 === 0 ? ` ${rarePhrase}` : ''}</p>`
    const type = JSON.stringify([['a', 'b', 'c', 'd'][index % 4], ...(index % 3 === 0 ? [] : ['d'])])
    const flags = { public: index % 2, n: rng.below(10_000), type: index % 4 === 3 ? '["d"]' : type }
    insert(table, { id: idOf(table, index), title: text(rng, 4), description, ...flags, author, owner: author })
  }
  db.transaction(() => {
    for (let i = 0; i < organizations; i++)
      insert('organizations', { id: idOf('organizations', i), name: text(rng, 2) })
    for (let i = 0; i < permissions; i++)
      insert('permissions', { id: idOf('permissions', i), name: text(rng, 1), active: i % 3 === 0 ? 0 : 1 })
    for (let i = 0; i < size.members; i++) {
      const granted = new Set(Array.from({ length: 3 }, () => idOf('permissions', rng.below(permissions))))
      insert('members', {
        id: idOf('members', i),
        email: `member${i}@example.com`,
        emailVisibility: i % 2,
        verified: 1,
        password: hash,
        tokenKey: `token-key-of-member-${i}`.padEnd(50, 'x'),
        name: text(rng, 2),
        organization: idOf('organizations', rng.below(organizations)),
        permissions: JSON.stringify([...granted]),
      })
    }
    for (let i = 0; i < size.posts; i++) post('posts10k', i)
    // Both names begin alike; ids need only be unique within their table.
    for (let i = 0; i < size.manyPosts; i++) post('posts100k', i)
    for (let i = 0; i < size.threads; i++) {
      insert('threads', { id: idOf('threads', i), title: text(rng, 3) })
      for (let j = 0; j < repliesPerThread; j++)
        insert('replies', {
          id: idOf('replies', i * repliesPerThread + j),
          text: text(rng, 6),
          thread: idOf('threads', i),
        })
    }
    db.query('INSERT INTO documents (id, file) VALUES (?, ?)').run(idOf('documents', 0), fileName)
  })()
  db.run('PRAGMA wal_checkpoint(TRUNCATE)')
  db.close()
}
