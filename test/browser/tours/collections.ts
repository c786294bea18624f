// Collections of all three types with every field, index, rule and option; rename, duplicate, truncate, delete.

import type { Page } from 'playwright-core'
import { dialog, logIn, noDialog, openMenu, question, type Tour, toast, visitPage, yes } from '../tour.ts'

const fieldTypes: readonly (readonly [label: string, name: string])[] = [
  ['Plain text', 'title'],
  ['Rich editor', 'body'],
  ['Number', 'amount'],
  ['Bool', 'active'],
  ['Email', 'contact'],
  ['URL', 'link'],
  ['Datetime', 'due'],
  ['File', 'docs'],
  ['Relation', 'author'],
  ['Select', 'kind'],
  ['JSON', 'meta'],
  ['Geo Point', 'place'],
]
// Autodates are there from the start: `created` and `updated`.

async function addFields(page: Page): Promise<void> {
  const form = dialog(page)
  for (const [index, [label, name]] of fieldTypes.entries()) {
    const at = `fields.${index + 1}` // behind the id
    await form.getByRole('button', { name: 'New field' }).click()
    await openMenu(page).getByRole('button', { name: label, exact: true }).click()
    await form.locator(`input[name="${at}.name"]`).fill(name)
    if (label === 'Select') {
      await form.locator(`input[name="${at}.values"]`).focus()
      await openMenu(page).locator('textarea').fill('red\ngreen\nblue')
      await page.keyboard.press('Escape')
    }
    if (label === 'Relation') {
      await form.locator(`button[name="${at}.collectionId"]`).click()
      await openMenu(page).getByRole('button', { name: 'users', exact: true }).click()
    }
  }
}

async function openSettings(page: Page, collection: string): Promise<void> {
  await page.locator(`.nav-item[title="${collection}"]`).click()
  await page.locator(`.page-header, header`).getByText(collection, { exact: true }).first().waitFor()
  await page.locator('.btn-collection-settings').click()
  await dialog(page).getByText(`Edit ${collection} collection`).waitFor()
}

async function confirmByName(page: Page, action: string, name: string): Promise<void> {
  await dialog(page).getByTitle('More options').first().click()
  await openMenu(page).getByRole('button', { name: action }).click()
  await question(page).getByLabel('Collection name').fill(name)
  await yes(page)
}

export const collectionsTour: Tour = async ({ page, api, step }) => {
  await step('log in', () => logIn(page))

  await step('create a collection with every type of field', async () => {
    await page.getByRole('button', { name: 'New collection' }).click()
    await dialog(page).locator('input[name=name]').fill('posts')
    await addFields(page)
    await dialog(page).getByRole('button', { name: 'New index' }).click()
    await dialog(page).getByRole('button', { name: 'title', exact: true }).click()
    await dialog(page).getByRole('button', { name: 'Set index' }).click()
    await dialog(page).getByRole('button', { name: 'API rules' }).click()
    await dialog(page).locator('.unlock-overlay:visible').first().click()
    const rule = dialog(page).locator('.rule-field .editor-content:visible').first()
    await rule.click()
    await rule.pressSequentially('amount != 0 || auth')
    await page.locator('.code-editor-dropdown').getByText('author', { exact: true }).first().waitFor()
    await rule.fill('amount != 0 || author = @request.auth.id')
    await dialog(page).getByRole('heading').click()
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await page.getByText('No records found.').first().waitFor()
    await page.locator('.nav-item[title="posts"]').waitFor()
  })

  await step('a name that is taken', async () => {
    await page.getByRole('button', { name: 'New collection' }).click()
    await dialog(page).locator('input[name=name]').fill('posts')
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await dialog(page)
      .getByText(/must be unique/)
      .first()
      .waitFor()
    await dialog(page).getByRole('button', { name: 'Close', exact: true }).click()
    await yes(page) // discard
    await noDialog(page)
  })

  await step('a rule that is wrong', async () => {
    await openSettings(page, 'posts')
    await dialog(page).getByRole('button', { name: 'API rules' }).click()
    await dialog(page).locator('.rule-field .editor-content:visible').first().fill('nothing = 1')
    await dialog(page).getByRole('button', { name: 'Save changes' }).click()
    await page
      .getByText(/Invalid rule/)
      .first()
      .waitFor()
    await dialog(page).locator('.rule-field .editor-content:visible').first().fill('amount > 0')
    await dialog(page).getByRole('button', { name: 'Save changes' }).click()
    await noDialog(page)
  })

  await step('rename the collection and a field', async () => {
    await openSettings(page, 'posts')
    await dialog(page).locator('input[name=name]').fill('articles')
    await dialog(page).locator('input[name="fields.1.name"]').fill('headline')
    await dialog(page).getByRole('button', { name: 'Save changes' }).click()
    await question(page).getByText('Renamed collection').waitFor()
    await yes(page)
    await page.locator('.nav-item[title="articles"]').waitFor()
    await noDialog(page)
  })

  await step('duplicate', async () => {
    await openSettings(page, 'articles')
    await dialog(page).getByTitle('More options').first().click()
    await openMenu(page).getByRole('button', { name: 'Duplicate' }).click()
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await page.locator('.nav-item[title="articles_duplicate"]').waitFor()
    await noDialog(page)
  })

  await step('truncate', async () => {
    await api.collection('articles').create({ headline: 'one' })
    await openSettings(page, 'articles')
    await confirmByName(page, 'Truncate', 'articles')
    await toast(page, 'Successfully truncated')
    await noDialog(page)
  })

  await step('a view with its preview', async () => {
    await page.getByRole('button', { name: 'New collection' }).click()
    await dialog(page).locator('input[name=name]').fill('headlines')
    await dialog(page).locator('.collection-type-select').click()
    await openMenu(page).getByRole('button', { name: /View/ }).click()
    const query = dialog(page).locator('[data-tab] .editor-content:visible').first()
    await query.fill('SELECT id, missing FROM articles')
    await dialog(page)
      .getByText(/no such column/i)
      .first()
      .waitFor()
    await query.fill('SELECT id, headline, COUNT(id) AS total FROM articles GROUP BY headline')
    await dialog(page)
      .getByText(/no such column/i)
      .first()
      .waitFor({ state: 'hidden' })
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await page.locator('.nav-item[title="headlines"]').waitFor()
    await noDialog(page)
  })

  await step('delete the view, then the collection', async () => {
    for (const name of ['headlines', 'articles']) {
      await openSettings(page, name)
      await confirmByName(page, 'Delete', name)
      await toast(page, `Successfully deleted collection "${name}".`)
      await page.locator(`.nav-item[title="${name}"]`).waitFor({ state: 'detached' })
      await noDialog(page)
    }
  })

  await step('an auth collection with OAuth2, OTP and MFA', async () => {
    await page.getByRole('button', { name: 'New collection' }).click()
    await dialog(page).locator('input[name=name]').fill('members')
    await dialog(page).locator('.collection-type-select').click()
    await openMenu(page).getByRole('button', { name: /Auth/ }).click()
    await dialog(page).getByRole('button', { name: 'Options', exact: true }).click()
    await dialog(page).locator('.oauth2-accordion > summary').click()
    await dialog(page).locator('.oauth2-accordion').getByText('Enable', { exact: true }).click()
    await dialog(page)
      .getByRole('button', { name: /Add provider/ })
      .click()
    await dialog(page).locator('.provider-card img').nth(20).waitFor()
    await dialog(page).locator('.provider-card').filter({ hasText: 'GitHub' }).click()
    await dialog(page).locator('input[name$=clientId]').fill('an-id')
    await dialog(page).locator('input[name$=clientSecret]').fill('a-secret')
    await dialog(page).getByRole('button', { name: 'Set provider config' }).click()
    await dialog(page).locator('.otp-accordion > summary').click()
    await dialog(page).locator('.otp-accordion').getByText('Enable', { exact: true }).click()
    await dialog(page).locator('.mfa-accordion > summary').click()
    await dialog(page).locator('.mfa-accordion').getByText('Enable', { exact: true }).click()
    await dialog(page).getByRole('button', { name: 'Create', exact: true }).click()
    await page.locator('.nav-item[title="members"]').waitFor()
    await noDialog(page)
  })

  await step('API preview', async () => {
    await visitPage(page, 'collections?collection=members')
    await page.getByRole('button', { name: 'API preview' }).click()
    for (const name of ['View', 'Create', 'Update', 'Delete', 'Realtime', 'Batch', 'Auth with OAuth2', 'Auth refresh'])
      await dialog(page).getByText(name, { exact: true }).first().click()
    await page.keyboard.press('Escape')
  })

  await step('overview of collections', async () => {
    await visitPage(page, 'collections?collection=members')
    await page.locator('.sidebar-search button:visible').last().click()
    await dialog(page).getByText('members').first().waitFor()
  })
}
