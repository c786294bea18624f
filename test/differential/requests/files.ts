// Uploads as forms, their modifiers, and downloads: thumbs, ranges, names, tokens.

import type { Generator } from '../generator.ts'
import type { CollectionPlan, FieldPlan, FormPart, RequestPlan } from '../plans.ts'
import { createRecord, listRecords, removableId } from './records.ts'

/** Two pixels by two. */
const png = Uint8Array.fromBase64(
  'iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFElEQVR4nGP4z8DAAMIM/////w8AH+4F+7C4l8kAAAAASUVORK5CYII=',
)
const gif = Uint8Array.fromBase64('R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7')
const text = (content: string) => new TextEncoder().encode(content)

const uploads: readonly (readonly [filename: string, type: string, bytes: Uint8Array])[] = [
  ['upla.txt', 'text/plain', text('plain text of a file')],
  ['uplPicture One.PNG', 'image/png', png],
  ['uplb.png', 'text/plain', png],
  ['uplc.gif', 'image/gif', gif],
  ['uplempty.txt', 'text/plain', new Uint8Array()],
  ['upld.html', 'text/html', text('<!doctype html><script>1</script>')],
  ['uple', 'application/octet-stream', text('no extension')],
  ['upl../../uplf.svg', 'image/svg+xml', text('<svg xmlns="http://www.w3.org/2000/svg"/>')],
  ['uplg.json', 'application/json', text('{"a":1}')],
  ['uplü ß.zip', 'application/zip', Uint8Array.of(0x50, 0x4b, 3, 4, 20, 0)],
]

export function someUpload(generator: Generator): { filename: string; type: string; bytes: Uint8Array } {
  const [filename, type, bytes] = generator.pick(uploads)
  return { filename, type, bytes }
}

function withFiles(generator: Generator): readonly (readonly [CollectionPlan, FieldPlan])[] {
  return generator.collections.flatMap((plan) =>
    plan.fields.filter((field) => field.type === 'file').map((field) => [plan, field] as const),
  )
}

/** The name of a stored file as the server under test calls it. */
const storedName = (plan: CollectionPlan, id: string, field: FieldPlan, index: number) =>
  `{{${plan.name}/${id}/${field.name}/${index}}}`

/** Creates or updates a record by a form, with files where its collection has a field for them. */
export function writeForm(generator: Generator, index: number): RequestPlan {
  const targets = withFiles(generator).filter(([plan]) => !plan.isView)
  if (targets.length === 0) return createRecord(generator, index)
  const [plan, field] = generator.pick(targets)
  const isNew = generator.chance(40)
  const id = isNew ? `new${String(index).padStart(12, '0')}` : removableId(generator, plan)
  const form: FormPart[] = []
  const others = { ...generator.values(plan, 20), ...(isNew && { ...generator.authPart(plan, 1_000 + index), id }) }
  if (generator.chance(30)) form.push({ name: '@jsonPayload', value: JSON.stringify(others) })
  else
    for (const [name, value] of Object.entries(others))
      for (const each of Array.isArray(value) ? value : [value])
        form.push({ name, value: typeof each === 'string' ? each : JSON.stringify(each) })
  // More is added than put in place: only what has several files shows in which order they are.
  const key = generator.pick([field.name, `${field.name}+`, `${field.name}+`, `+${field.name}`])
  for (let count = generator.rng.below(3); count > 0; count--) form.push({ name: key, value: someUpload(generator) })
  if (!isNew && generator.chance(30))
    form.push({ name: field.name, value: storedName(plan, id, field, generator.rng.below(2)) })
  if (!isNew && generator.chance(25))
    form.push({ name: `${field.name}-`, value: storedName(plan, id, field, generator.rng.below(2)) })
  if (form.length === 0) form.push({ name: 'title', value: 'by form' })
  const path = `/api/collections/${plan.name}/records${isNew ? '' : `/${id}`}`
  const caller = generator.chance(50) ? 1 : generator.caller()
  return { method: isNew ? 'POST' : 'PATCH', path, body: null, form, caller }
}

const compared = ['content-disposition', 'content-security-policy', 'cache-control', 'accept-ranges', 'content-range']

export function downloadFile(generator: Generator): RequestPlan {
  const sources = withFiles(generator)
  if (sources.length === 0) return listRecords(generator)
  const [plan, field] = generator.pick(sources)
  const id = generator.someId(plan)
  const name = generator.chance(5) ? 'nope.txt' : storedName(plan, id, field, generator.rng.below(2))
  const thumb = generator.chance(30) ? generator.pick(['8x8', '4x0', '100x100', '7x7', 'x']) : ''
  const query = new URLSearchParams()
  if (thumb !== '') query.set('thumb', thumb)
  if (generator.chance(20)) query.set('download', generator.pick(['1', 'true', '0', 'x']))
  const range = generator.pick(['', '', '', 'bytes=0-3', 'bytes=-2', 'bytes=900-', 'bytes=5-1', 'nonsense'])
  return {
    method: 'GET',
    path: `/api/files/${generator.chance(80) ? plan.id : plan.name}/${id}/${name}${query.size > 0 ? `?${query}` : ''}`,
    body: null,
    caller: generator.caller(),
    ...(range !== '' && { headers: { range } }),
    answerHeaders: thumb === '' ? [...compared, 'content-length'] : compared.filter((each) => each !== 'content-range'),
    ignoresBody: thumb !== '',
  }
}
