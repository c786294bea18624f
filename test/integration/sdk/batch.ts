// Several changes as one transaction.

import { beforeAll, describe, expect, test } from 'bun:test'
import { newClient, picture, refusal, type WorldOf } from './world.ts'

export function batchCalls(world: WorldOf): void {
  describe('batch', () => {
    beforeAll(async () => {
      const { root } = world()
      await root.settings.update({ batch: { enabled: true, maxRequests: 20, timeout: 10 } })
      await root.collections.create({
        name: 'sdk_batch',
        type: 'base',
        listRule: '',
        viewRule: '',
        createRule: '',
        updateRule: '',
        deleteRule: '',
        fields: [
          { name: 'title', type: 'text', required: true },
          { name: 'files', type: 'file', maxSelect: 4 },
        ],
      })
    })

    test('create, update, upsert and delete, with files, fields and expand', async () => {
      const client = newClient(world().url)
      const items = client.collection('sdk_batch')
      const old = await items.create({ title: 'old', files: picture('kept.png') })
      const doomed = await items.create({ title: 'doomed' })
      const batch = client.createBatch()
      const part = batch.collection('sdk_batch')
      part.create({ title: 'created', files: [picture('a.png'), picture('b.png')] }, { fields: 'title,files' })
      part.update(old.id, { title: 'updated', files: [old['files'][0], picture('c.png')] })
      part.upsert({ id: old.id, title: 'upserted' }, { headers: { 'x-part': '1' } })
      part.upsert({ id: 'upsertedanew000', title: 'made' })
      part.delete(doomed.id)
      const results = await batch.send()
      expect(results.map(({ status }) => status)).toEqual([200, 200, 200, 200, 204])
      expect(Object.keys(results[0]!.body).sort()).toEqual(['files', 'title'])
      expect(results[0]!.body.files).toHaveLength(2)
      expect(results[1]!.body).toMatchObject({ id: old.id, title: 'updated' })
      expect(results[1]!.body.files).toHaveLength(2)
      expect(results[1]!.body.files[0]).toBe(old['files'][0])
      expect(results[2]!.body).toMatchObject({ id: old.id, title: 'upserted' })
      expect(results[3]!.body).toMatchObject({ id: 'upsertedanew000', title: 'made' })
      expect(results[4]!.body).toBeNull()
      for (const name of results[1]!.body.files) expect((await fetch(client.files.getURL(old, name))).status).toBe(200)
    })

    test('by form; and one bad part undoes all', async () => {
      const client = newClient(world().url)
      const before = (await client.collection('sdk_batch').getList(1, 1)).totalItems
      const batch = client.createBatch()
      const form = new FormData()
      form.set('title', 'by form')
      batch.collection('sdk_batch').create(form)
      batch.collection('sdk_batch').create({ title: '' })
      const error = await refusal(batch.send())
      expect(error.status).toBe(400)
      expect(error.response['data'].requests['1'].response.data).toHaveProperty('title')
      expect((await client.collection('sdk_batch').getList(1, 1)).totalItems).toBe(before)
      const good = client.createBatch()
      good.collection('sdk_batch').create(form)
      expect((await good.send({ headers: { 'x-whole': '1' } }))[0]!.body.title).toBe('by form')
    })
  })
}
