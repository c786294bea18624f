// Goal: an archived tenant is there again with its first request, with everything that it had, and says how long that took.
// Method: a real fleet, its command line and the SDK.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { withShop } from '../support/shop.ts'

setDefaultTimeout(180_000)

test('archive, a request, resume', () =>
  withShop(async (fleet, client) => {
    const made = await client.collection('notes').create({ title: 'kept', photo: new File(['bytes'], 'photo.txt') })
    const show = async () =>
      JSON.parse(await fleet.cli(['tenant', 'show', 'shop', '--json'])) as {
        status: string
        archive: { stage: string; reopenMs: number | null }
      }

    expect(await fleet.cli(['tenant', 'archive', 'shop'])).toContain('archived shop')
    expect(await show()).toMatchObject({ status: 'archived', archive: { stage: 'archived' } })
    // Nobody is refused: the first request waits until it is there.
    const [first, second] = await Promise.all([
      client.collection('notes').getOne(made.id),
      client.collection('notes').getFullList(),
    ])
    expect([first['title'], second.length]).toEqual(['kept', 1])
    expect(await (await fetch(client.files.getURL(made, made['photo']))).text()).toBe('bytes')
    const back = await show()
    expect(back.status).toBe('active')
    expect(back.archive.reopenMs).toBeGreaterThan(0)

    await fleet.cli(['tenant', 'archive', 'shop'])
    expect(await fleet.cli(['tenant', 'resume', 'shop'])).toMatch(/shop is back, after \d+ ms/)
    await expect(fleet.cli(['tenant', 'resume', 'shop'])).rejects.toThrow('not archived')
    await client.collection('notes').create({ title: 'later' })
    expect((await client.collection('notes').getFullList()).length).toBe(2)
  }))
