// Goal: hashes travel between PocketBase and us, and one tenant's logins cannot stand in the way of another's.
// Method: known bcrypt vectors, and a queue of one place whose order of completion is observed.

import { expect, test } from 'bun:test'
import { PasswordCostError, PasswordQueue, PasswordTooLongError, passwordBytesMax } from './password.ts'

const hasher = new PasswordQueue().lane()
const cost = 4 // the least bcrypt allows: tests want the format, not the strength

test('hashes as PocketBase stores them', async () => {
  const hash = await hasher.hash('secret', cost)
  expect(hash).toMatch(/^\$2a\$04\$[./A-Za-z0-9]{53}$/)
  expect(await hasher.verify('secret', hash)).toBe(true)
  expect(await hasher.verify('Secret', hash)).toBe(false)
  expect(await hasher.verify('', hash)).toBe(false)
})

test('cost 0 means 10', async () => {
  expect(await hasher.hash('secret', 0)).toStartWith('$2a$10$')
})

test('verifies $2a$ and $2b$ vectors of other implementations', async () => {
  // OpenBSD's and Go's published vectors.
  expect(await hasher.verify('allmine', '$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga')).toBe(true)
  expect(await hasher.verify('allmine', '$2b$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga')).toBe(true)
  expect(await hasher.verify('U*U', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW')).toBe(true)
})

test('compares only the first 72 bytes, and refuses to hash more', async () => {
  const hash = await hasher.hash('é'.repeat(36), cost)
  expect(await hasher.verify('é'.repeat(36), hash)).toBe(true)
  expect(await hasher.verify('é'.repeat(50), hash)).toBe(true)
  expect(await hasher.verify('é'.repeat(35), hash)).toBe(false)
  await expect(hasher.hash('a'.repeat(passwordBytesMax + 1), cost)).rejects.toBeInstanceOf(PasswordTooLongError)
})

test('what is no bcrypt hash matches nothing, and an absurd cost is not computed', async () => {
  for (const hash of [
    '',
    'secret',
    '$2a$04$short',
    '$argon2id$v=19$m=65536,t=2,p=1$abc$def',
    `$2a$03$${'a'.repeat(53)}`,
  ])
    expect(await hasher.verify('secret', hash)).toBe(false)
  await expect(hasher.verify('secret', `$2a$31$${'a'.repeat(53)}`)).rejects.toBeInstanceOf(PasswordCostError)
  await expect(hasher.hash('secret', 31)).rejects.toBeInstanceOf(PasswordCostError)
})

test('lanes take turns', async () => {
  const queue = new PasswordQueue(1)
  const [flooded, neighbour] = [queue.lane(), queue.lane()]
  const hash = await hasher.hash('secret', cost)
  const order: string[] = []
  const jobs = Array.from({ length: 10 }, () => flooded.verify('x', hash).then(() => order.push('flooded')))
  jobs.push(neighbour.verify('x', hash).then(() => order.push('neighbour')))
  await Promise.all(jobs)
  expect(order.indexOf('neighbour')).toBeLessThan(3)
})

test('a full lane refuses instead of growing', async () => {
  const queue = new PasswordQueue(1)
  const lane = queue.lane()
  const outcomes = await Promise.allSettled(Array.from({ length: 1010 }, () => lane.verify('x', 'no hash')))
  expect(outcomes.filter((each) => each.status === 'rejected')).toHaveLength(9)
  expect(await lane.verify('x', 'no hash')).toBe(false) // and recovers
})
