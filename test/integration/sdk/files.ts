// Uploads, their modifiers, addresses, thumbs and tokens.

import { beforeAll, describe, expect, test } from 'bun:test'
import type { RecordModel } from 'pocketbase'
import { newClient, picture, refusedStatus, type WorldOf, withWarnings } from './world.ts'

const text = (content: string, name: string) => new File([content], name, { type: 'text/plain' })

export function fileCalls(world: WorldOf): void {
  describe('files', () => {
    beforeAll(async () => {
      await world().root.collections.create({
        name: 'sdk_files',
        type: 'base',
        listRule: '',
        viewRule: '@request.auth.id != ""',
        createRule: '',
        updateRule: '',
        deleteRule: '',
        fields: [
          { name: 'title', type: 'text' },
          { name: 'one', type: 'file', maxSelect: 1, maxSize: 100_000, thumbs: ['10x10', '4x0'] },
          { name: 'many', type: 'file', maxSelect: 5, maxSize: 1_000 },
          { name: 'secret', type: 'file', maxSelect: 1, protected: true },
        ],
      })
    })

    const names = (record: RecordModel, field: string) => record[field] as string[]
    const read = async (url: string) => {
      const answer = await fetch(url)
      return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text(), answer }
    }

    test('upload by object, Blob and FormData; getURL downloads them', async () => {
      const client = newClient(world().url)
      const files = client.collection('sdk_files')
      const made = await files.create({
        title: 'by object',
        one: picture('My picture.PNG'),
        many: [text('first', 'a.txt'), text('second', 'b.txt')],
      })
      expect(made['one']).toMatch(/^my_picture_\w{10}\.PNG$/)
      expect(names(made, 'many')).toHaveLength(2)
      expect(await read(client.files.getURL(made, names(made, 'many')[0]!))).toMatchObject({
        status: 200,
        text: 'first',
      })
      expect((await read(client.files.getURL(made, names(made, 'many')[1]!))).text).toBe('second')
      const form = new FormData()
      form.set('title', 'by form')
      form.append('many', new Blob(['third'], { type: 'text/plain' }), 'c.txt')
      const byForm = await files.create(form)
      expect(byForm).toMatchObject({ title: 'by form', one: '' })
      expect((await read(client.files.getURL(byForm, names(byForm, 'many')[0]!))).text).toBe('third')
      expect(client.files.getURL(made, '')).toBe('')
      const { value, warnings } = await withWarnings(() => [
        client.files.getUrl(made, made['one']),
        client.getFileUrl(made, made['one']),
      ])
      expect(value).toEqual([client.files.getURL(made, made['one']), client.files.getURL(made, made['one'])])
      expect(warnings).toHaveLength(2)
    })

    test('thumbs and forced downloads', async () => {
      const client = newClient(world().url)
      const made = await client.collection('sdk_files').create({ one: picture() })
      const original = await read(client.files.getURL(made, made['one']))
      expect(original).toMatchObject({ status: 200, type: 'image/png' })
      for (const thumb of ['10x10', '4x0', '100x100']) {
        const small = await read(client.files.getURL(made, made['one'], { thumb }))
        expect({ thumb, status: small.status, type: small.type }).toEqual({ thumb, status: 200, type: 'image/png' })
        expect(small.text).not.toBe(original.text)
      }
      // A size that the field does not have is the original.
      expect((await read(client.files.getURL(made, made['one'], { thumb: '7x7' }))).text).toBe(original.text)
      const { answer } = await read(client.files.getURL(made, made['one'], { download: true }))
      expect(answer.headers.get('content-disposition')).toStartWith('attachment')
      expect(client.files.getURL(made, made['one'], { download: false })).not.toContain('download')
    })

    test('append, prepend and delete; what is left out stays, what is emptied goes', async () => {
      const client = newClient(world().url)
      const files = client.collection('sdk_files')
      const made = await files.create({ many: [text('1', 'one.txt'), text('2', 'two.txt')] })
      const [one, two] = names(made, 'many') as [string, string]
      const appended = await files.update(made.id, { 'many+': [text('3', 'three.txt')] })
      const three = names(appended, 'many')[2]!
      expect(names(appended, 'many')).toEqual([one, two, three])
      const prepended = await files.update(made.id, { '+many': text('0', 'zero.txt') })
      const zero = names(prepended, 'many')[0]!
      expect(names(prepended, 'many')).toEqual([zero, one, two, three])
      const removed = await files.update(made.id, { 'many-': [one, two] })
      expect(names(removed, 'many')).toEqual([zero, three])
      expect((await read(client.files.getURL(made, one))).status).toBe(404)
      const untouched = await files.update(made.id, { title: 'x' })
      expect(names(untouched, 'many')).toEqual([zero, three])
      const replaced = await files.update(made.id, { many: [three, text('4', 'four.txt')] })
      expect(names(replaced, 'many')[0]).toBe(three)
      expect(names(replaced, 'many')).toHaveLength(2)
      expect(names(await files.update(made.id, { many: [] }), 'many')).toEqual([])
      expect(await refusedStatus(files.update(made.id, { many: [text('x'.repeat(1_001), 'large.txt')] }))).toBe(400)
    })

    test('getToken opens a protected file', async () => {
      const { root, url } = world()
      const client = newClient(url)
      const made = await client.collection('sdk_files').create({ secret: text('hidden', 'secret.txt') })
      expect((await read(client.files.getURL(made, made['secret']))).status).toBe(404)
      expect(await refusedStatus(client.files.getToken())).toBe(401)
      const token = await root.files.getToken()
      expect(await read(root.files.getURL(made, made['secret'], { token }))).toMatchObject({
        status: 200,
        text: 'hidden',
      })
    })
  })
}
