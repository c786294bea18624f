// Collections: create, read, change, import, and what the dashboard asks about them.

import { describe, expect, test } from 'bun:test'
import type { CollectionModel } from 'pocketbase'
import { newClient, refusal, refusedStatus, type WorldOf } from './world.ts'

export function collectionCalls(world: WorldOf): void {
  describe('collections', () => {
    const name = 'sdk_collection'

    test('create, read, update, truncate, delete', async () => {
      const { collections } = world().root
      expect(collections.baseCrudPath).toBe('/api/collections')
      expect(collections.decode({ id: 'x' }) as unknown).toEqual({ id: 'x' })
      const made = await collections.create({
        name,
        type: 'base',
        fields: [
          { name: 'title', type: 'text', max: 50 },
          { name: 'rank', type: 'number' },
        ],
        indexes: [`CREATE UNIQUE INDEX idx_sdk_title ON ${name} (title)`],
      })
      expect(made).toMatchObject({ name, type: 'base', system: false, listRule: null })
      expect(made.fields.map((field) => field.name)).toEqual(['id', 'title', 'rank'])
      expect(await collections.getOne(name)).toEqual(made)
      expect(await collections.getOne(made.id, { fields: 'name' })).toEqual({ name } as CollectionModel)
      const records = world().root.collection(name)
      await records.create({ title: 'a', rank: 1 })
      expect((await refusal(records.create({ title: 'a' }))).response['data'].title.code).toBe('validation_not_unique')

      const renamed = await collections.update(name, {
        listRule: '',
        fields: made.fields.map((field) => (field.name === 'rank' ? { ...field, name: 'place' } : field)),
      })
      expect(renamed.listRule).toBe('')
      expect((await records.getFirstListItem('title = "a"'))['place']).toBe(1)

      expect(await collections.truncate(name)).toBe(true)
      expect(await records.getFullList()).toEqual([])
      expect(await collections.delete(name)).toBe(true)
      expect(await refusedStatus(collections.getOne(name))).toBe(404)
      expect(await refusedStatus(newClient(world().url).collections.getList())).toBe(401)
    })

    test('lists', async () => {
      const { collections } = world().root
      const page = await collections.getList(1, 2, { sort: '+name', filter: 'system = true' })
      expect(page.items.map((each) => each.name)).toEqual(['_authOrigins', '_externalAuths'])
      expect(page.totalItems).toBe(5)
      const all = await collections.getFullList({ sort: '-created', batch: 3 })
      expect(all.map((each) => each.name)).toContain('users')
      expect(await collections.getFullList(2, { fields: 'id' })).toHaveLength(all.length)
      expect((await collections.getFirstListItem('type = "auth" && system = false')).name).toBe('users')
      expect((await refusal(collections.getFirstListItem('name = "nope"'))).status).toBe(404)
    })

    test('import, with and without what is missing', async () => {
      const { collections } = world().root
      const before = await collections.getFullList()
      const extra = { name: 'sdk_imported', type: 'base', fields: [{ name: 'title', type: 'text' }] }
      expect(await collections.import([extra as unknown as CollectionModel])).toBe(true)
      expect((await collections.getOne('sdk_imported')).fields.map((field) => field.name)).toEqual(['id', 'title'])
      expect(await collections.import(before, true)).toBe(true)
      expect(await refusedStatus(collections.getOne('sdk_imported'))).toBe(404)
      // A file that was exported and is imported again changes nothing.
      const withoutTimes = (list: readonly CollectionModel[]) =>
        list.map(({ updated: _, ...rest }) => rest).sort((a, b) => a.id.localeCompare(b.id))
      expect(withoutTimes(await collections.getFullList())).toEqual(withoutTimes(before))
    })

    test('scaffolds and OAuth2 providers', async () => {
      const { collections } = world().root
      const scaffolds = await collections.getScaffolds()
      expect(Object.keys(scaffolds).sort()).toEqual(['auth', 'base', 'view'])
      expect(scaffolds['auth']).toMatchObject({ type: 'auth', passwordAuth: { enabled: true } })
      const providers = await collections.getAllOAuth2Providers()
      expect(providers.length).toBeGreaterThan(30)
      for (const { name: provider, displayName, logo } of providers)
        expect([provider, displayName, logo].every((each) => typeof each === 'string' && each !== '')).toBe(true)
    })

    test('a view, tried out first', async () => {
      const { root, url } = world()
      const query = 'SELECT id, name, email FROM users'
      const tried = (await root.collections.dryRunViewQuery(query)) as unknown as {
        fields: { name: string }[]
        sample: unknown[]
      }
      expect(tried.fields.map((field) => field.name)).toEqual(['id', 'name', 'email'])
      expect(Array.isArray(tried.sample)).toBe(true)
      expect(await refusedStatus(root.collections.dryRunViewQuery('SELECT nope'))).toBe(400)
      const view = await root.collections.create({ name: 'sdk_view', type: 'view', viewQuery: query, listRule: '' })
      expect(view.type).toBe('view')
      const listed = await newClient(url).collection('sdk_view').getList()
      expect(listed.totalItems).toBe((await root.collection('users').getList()).totalItems)
      await root.collections.delete('sdk_view')
    })
  })
}
