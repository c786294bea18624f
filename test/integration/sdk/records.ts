// Records: create, read, list, expand, filter, update, delete.

import { beforeAll, describe, expect, test } from 'bun:test'
import { newClient, refusal, refusedStatus, type WorldOf } from './world.ts'

export function recordCalls(world: WorldOf): void {
  describe('records', () => {
    let authorId = ''
    const ids: string[] = []

    beforeAll(async () => {
      const { root } = world()
      const open = { listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' }
      const authors = await root.collections.create({
        ...open,
        name: 'sdk_authors',
        type: 'base',
        fields: [{ name: 'name', type: 'text', required: true }],
      })
      await root.collections.create({
        ...open,
        name: 'sdk_posts',
        type: 'base',
        fields: [
          { name: 'title', type: 'text', required: true },
          { name: 'views', type: 'number' },
          { name: 'tags', type: 'select', maxSelect: 3, values: ['a', 'b', 'c'] },
          { name: 'author', type: 'relation', collectionId: authors.id, maxSelect: 1 },
          { name: 'at', type: 'date' },
          { name: 'extra', type: 'json' },
          { name: 'created', type: 'autodate', onCreate: true },
        ],
      })
      authorId = (await root.collection('sdk_authors').create({ name: 'Ada' })).id
    })

    test('create', async () => {
      const posts = newClient(world().url).collection('sdk_posts')
      const first = await posts.create(
        { title: 'First', views: 1, author: authorId, at: new Date('2024-05-06T07:08:09.010Z'), extra: { a: [1] } },
        { expand: 'author' },
      )
      expect(first).toMatchObject({
        title: 'First',
        views: 1,
        tags: [],
        author: authorId,
        at: '2024-05-06 07:08:09.010Z',
        extra: { a: [1] },
        collectionName: 'sdk_posts',
        expand: { author: { id: authorId, name: 'Ada' } },
      })
      ids.push(first.id)
      for (let i = 2; i <= 7; i++) {
        const made = await posts.create({ title: `Post ${i}`, views: i, tags: ['a'], author: authorId })
        ids.push(made.id)
      }
      const picked = await posts.create({ title: 'Picked' }, { fields: 'id,title:excerpt(3,true)' })
      expect(picked).toEqual({ id: picked.id, title: 'Pic...' } as unknown as typeof picked)
      await posts.delete(picked.id)
    })

    test('a refused create names each field', async () => {
      const error = await refusal(
        newClient(world().url)
          .collection('sdk_posts')
          .create({ views: 1, tags: ['nope'] }),
      )
      expect(error.status).toBe(400)
      expect(error.data).toMatchObject({ status: 400, message: 'Failed to create record.' })
      expect(error.response['data']).toMatchObject({
        title: { code: 'validation_required', message: 'Cannot be blank.' },
        tags: { code: 'validation_invalid_value' },
      })
    })

    test('getOne', async () => {
      const posts = newClient(world().url).collection('sdk_posts')
      const post = await posts.getOne(ids[0]!, { expand: 'author', fields: 'id,title,expand.author.name' })
      expect(post as unknown).toEqual({ id: ids[0], title: 'First', expand: { author: { name: 'Ada' } } })
      expect(await refusedStatus(posts.getOne('missing'))).toBe(404)
      expect((await refusal(posts.getOne(''))).response['message']).toBe('Missing required record id.')
    })

    test('getList: pages, sort, filter, totals', async () => {
      const posts = newClient(world().url).collection('sdk_posts')
      const page = await posts.getList(2, 3, { sort: '-views', fields: 'views' })
      expect(page as unknown).toEqual({
        page: 2,
        perPage: 3,
        totalItems: 7,
        totalPages: 3,
        items: [{ views: 4 }, { views: 3 }, { views: 2 }],
      })
      const untotalled = await posts.getList(1, 2, { skipTotal: true, filter: 'views > 5', sort: 'views' })
      expect(untotalled).toMatchObject({ totalItems: -1, totalPages: -1, items: [{ views: 6 }, { views: 7 }] })
      const back = await world().root.collection('sdk_authors').getList(1, 1, { expand: 'sdk_posts_via_author' })
      expect(back.items[0]!.expand!['sdk_posts_via_author']).toHaveLength(7)
      expect(await refusedStatus(posts.getList(1, 1, { filter: 'nope = 1' }))).toBe(400)
    })

    test('getFirstListItem', async () => {
      const posts = newClient(world().url).collection('sdk_posts')
      const found = await posts.getFirstListItem('views >= 3 && tags:each = "a"', { sort: 'views', expand: 'author' })
      expect(found).toMatchObject({ title: 'Post 3', expand: { author: { name: 'Ada' } } })
      expect((await refusal(posts.getFirstListItem('views = 99'))).status).toBe(404)
    })

    test('getFullList, in every form', async () => {
      const posts = newClient(world().url).collection('sdk_posts')
      const views = (list: readonly Record<string, unknown>[]) => list.map((each) => each['views'])
      expect(views(await posts.getFullList())).toHaveLength(7)
      expect(views(await posts.getFullList({ batch: 2, sort: 'views' }))).toEqual([1, 2, 3, 4, 5, 6, 7])
      expect(views(await posts.getFullList(3, { sort: '-views', filter: 'views > 4' }))).toEqual([7, 6, 5])
    })

    test('filter() binds values of every kind', async () => {
      const { url } = world()
      const client = newClient(url)
      const posts = client.collection('sdk_posts')
      const evil = `x" || id != "" || title = 'y\\`
      const made = await posts.create({ title: evil, views: 1.5, at: '2030-01-01 00:00:00.000Z', extra: { k: 'v' } })
      try {
        const cases: readonly (readonly [string, Record<string, unknown>])[] = [
          ['title = {:title}', { title: evil }],
          ['views = {:views} && id = {:id}', { views: 1.5, id: made.id }],
          ['at >= {:at}', { at: new Date('2029-12-31T23:59:59Z') }],
          ['(title = {:none}) = {:no} || id = {:id}', { none: null, no: false, id: made.id }],
          ['extra.k = {:k}', { k: 'v' }],
        ]
        for (const [raw, params] of cases.filter(([raw]) => !raw.includes(') =')))
          expect((await posts.getFullList({ filter: client.filter(raw, params) })).map(({ id }) => id)).toEqual([
            made.id,
          ])
        expect(client.filter('a = {:b} && c = {:d}', { b: null, d: true })).toBe('a = null && c = true')
        expect(client.filter('unchanged')).toBe('unchanged')
      } finally {
        await posts.delete(made.id)
      }
    })

    test('update, with modifiers', async () => {
      const posts = newClient(world().url).collection('sdk_posts')
      const updated = await posts.update(ids[1]!, { 'views+': 10, 'tags+': ['b'], title: 'Changed' })
      expect(updated).toMatchObject({ views: 12, tags: ['a', 'b'], title: 'Changed' })
      expect(await posts.update(ids[1]!, { 'views-': 10, 'tags-': 'a' })).toMatchObject({ views: 2, tags: ['b'] })
      const viaForm = new FormData()
      viaForm.set('title', 'By form')
      viaForm.append('tags', 'a')
      viaForm.append('tags', 'c')
      expect(await posts.update(ids[1]!, viaForm)).toMatchObject({ title: 'By form', tags: ['a', 'c'] })
      expect(await refusedStatus(posts.update('missing', { title: 'x' }))).toBe(404)
    })

    test('delete', async () => {
      const posts = newClient(world().url).collection('sdk_posts')
      expect(await posts.delete(ids[6]!)).toBe(true)
      expect(await refusedStatus(posts.delete(ids[6]!))).toBe(404)
    })

    test('paths and decoding', () => {
      const service = newClient(world().url).collection('sdk_posts')
      expect(service.baseCrudPath).toBe('/api/collections/sdk_posts/records')
      expect(service.baseCollectionPath).toBe('/api/collections/sdk_posts')
      expect(service.isSuperusers).toBe(false)
      expect(service.decode({ id: 'a' }) as unknown).toEqual({ id: 'a' })
    })
  })
}
