// Records: every field, files with thumbs, relations, search, sort, selection, changes by others, users and their tokens.

import type { Page } from 'playwright-core'
import { drawPng } from '../../support/png.ts'
import { dialog, logIn, noDialog, openMenu, type Tour, toast, visitPage, yes } from '../tour.ts'

/** Four greys. */
const picture = drawPng({ width: 2, height: 2 }, 'grey', (x, y) => [80 + 10 * x + 20 * y])

const rows = (page: Page) => page.locator('.records-table tbody tr, table tbody tr')
const rowOf = (page: Page, text: string) => rows(page).filter({ hasText: text })

async function search(page: Page, text: string): Promise<void> {
  const field = page.locator('.searchbar .editor-content').first()
  await field.fill(text)
  await page.keyboard.press('Escape') // the list of what could be meant
  await page.locator('.searchbar').getByRole('button', { name: 'Search', exact: true }).click()
}

export const recordsTour: Tour = async ({ page, api, step }) => {
  const user = await api
    .collection('users')
    .create({ email: 'ann@example.com', name: 'Ann', password: '1234567890', passwordConfirm: '1234567890' })
  const users = await api.collections.getOne('users')
  await api.collections.create({
    name: 'posts',
    type: 'base',
    fields: [
      { type: 'text', name: 'title', required: true, presentable: true },
      { type: 'number', name: 'amount', max: 100 },
      { type: 'bool', name: 'active' },
      { type: 'email', name: 'contact' },
      { type: 'url', name: 'link' },
      { type: 'date', name: 'due' },
      { type: 'file', name: 'docs', maxSelect: 3, thumbs: ['100x100'] },
      { type: 'relation', name: 'author', collectionId: users.id, maxSelect: 1 },
      { type: 'select', name: 'kind', values: ['red', 'green', 'blue'], maxSelect: 2 },
      { type: 'json', name: 'meta' },
      { type: 'geoPoint', name: 'place' },
      { type: 'autodate', name: 'created', onCreate: true },
      { type: 'autodate', name: 'updated', onCreate: true, onUpdate: true },
    ],
  })
  await step('log in', () => logIn(page))
  await step('an empty collection', async () => {
    await visitPage(page, 'collections?collection=posts')
    await page.getByText('No records found.').first().waitFor()
  })

  await step('a record that is refused', async () => {
    await page.getByRole('button', { name: 'New record' }).first().click()
    await dialog(page).locator('[name=title]').fill('first')
    await dialog(page).locator('[name=amount]').fill('50')
    await dialog(page).locator('[name=id]').fill('short')
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await dialog(page).getByText('Must be at least 15 character(s).').waitFor()
  })

  await step('a record with every field', async () => {
    const form = dialog(page)
    await form.locator('[name=id]').fill('')
    await form.getByLabel('active').check({ force: true })
    await form.locator('[name=contact]').fill('a@example.com')
    await form.locator('[name=link]').fill('https://example.com')
    await form.locator('[name=due]').fill('2030-01-02T03:04:05')
    await form.locator('input[type=file]').setInputFiles([
      { name: 'picture.png', mimeType: 'image/png', buffer: picture },
      { name: 'note.txt', mimeType: 'text/plain', buffer: Buffer.from('a note') },
    ])
    await form.locator('button[name=kind]').click()
    for (const kind of ['red', 'blue']) await openMenu(page).getByRole('button', { name: kind, exact: true }).click()
    await page.keyboard.press('Escape')
    await form.locator('.editor-content').last().fill('{"a":[1,2]}')
    await form.locator('input[name=place]').first().fill('13.4')
    await form.locator('input[name=place]').last().fill('52.5')
    await form.getByRole('button', { name: 'Open records picker' }).click()
    await dialog(page)
      .locator('.records-picker-list')
      .getByText('ann@example.com')
      .or(dialog(page).getByText('Ann'))
      .first()
      .click()
    await dialog(page).getByRole('button', { name: 'Set selection' }).click()
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await rowOf(page, 'first').waitFor()
    await noDialog(page)
    await page.waitForFunction("[...document.querySelectorAll('table img')].some((each) => each.naturalWidth > 0)")
  })

  await step('change it', async () => {
    await rowOf(page, 'first').getByText('first', { exact: true }).click()
    await dialog(page).locator('[name=title]').fill('second')
    await dialog(page).getByRole('button', { name: 'Save changes' }).click()
    await rowOf(page, 'second').waitFor()
    await noDialog(page)
  })

  await step('duplicate it', async () => {
    await rowOf(page, 'second').getByText('second', { exact: true }).click()
    await dialog(page).getByTitle('More options').first().click()
    await openMenu(page).getByRole('button', { name: 'Duplicate' }).click()
    await dialog(page).locator('[name=title]').fill('copy')
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await rowOf(page, 'copy').waitFor()
    await noDialog(page)
  })

  await step('search by words, by a filter, by a wrong one', async () => {
    await search(page, 'copy')
    await rowOf(page, 'second').waitFor({ state: 'detached' })
    await search(page, 'title = "second" && author.name = "Ann"')
    await rowOf(page, 'copy').waitFor({ state: 'detached' })
    await rowOf(page, 'second').waitFor()
    await search(page, 'nothing = 1')
    await toast(page, /Something went wrong|Invalid/)
  })

  await step('sort, and come back by the address', async () => {
    await visitPage(page, 'collections?collection=posts&filter=&sort=-title')
    await rowOf(page, 'second').waitFor()
    await page.locator('th').filter({ hasText: 'amount' }).first().click()
    await page.waitForURL(/sort=-?%?2?B?amount/)
  })

  await step('what others change', async () => {
    await api.collection('posts').create({ title: 'from elsewhere' })
    await visitPage(page, 'collections?collection=posts')
    await rowOf(page, 'from elsewhere').waitFor()
  })

  await step('delete what is selected', async () => {
    await rowOf(page, 'copy').locator('label').first().click()
    await rowOf(page, 'from elsewhere').locator('label').first().click()
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await yes(page)
    await rowOf(page, 'copy').waitFor({ state: 'detached' })
    await rowOf(page, 'from elsewhere').waitFor({ state: 'detached' })
  })

  await step('a user: verify, impersonate, reset tokens', async () => {
    await visitPage(page, 'collections?collection=users')
    await rowOf(page, 'ann@example.com').getByText('ann@example.com').first().click()
    await dialog(page).locator('[name=name]').fill('Anna')
    await dialog(page).getByRole('button', { name: 'Save changes' }).click()
    await rowOf(page, 'Anna').waitFor()
    await noDialog(page)
    await rowOf(page, 'Anna').getByText('ann@example.com').first().click()
    await dialog(page).getByRole('button', { name: 'Auth providers' }).click()
    await dialog(page).getByTitle('More options').first().click()
    await openMenu(page).getByRole('button', { name: 'Impersonate' }).click()
    await dialog(page).locator('[name=duration]').fill('60')
    await dialog(page).getByRole('button', { name: 'Generate token' }).click()
    await dialog(page).getByRole('button', { name: 'Generate new one' }).waitFor()
    await dialog(page).getByRole('button', { name: 'Close', exact: true }).click()
    await dialog(page).getByTitle('More options').first().click()
    await openMenu(page).getByRole('button', { name: 'Reset issued tokens' }).click()
    await yes(page)
    await toast(page, /token/i)
  })

  await step('superusers, and a record that is not there', async () => {
    await visitPage(page, 'collections?collection=_superusers')
    await rowOf(page, 'root@example.com').waitFor()
    await visitPage(page, `collections?collection=users&record=${user.id}`)
    await dialog(page).locator('[name=name]').waitFor()
    await visitPage(page, 'collections?collection=users&record=missing00000000')
    await toast(page, /Unable to load|not found|wasn't found|missing/i)
  })
}
