// Takes out of an answer what may differ between two servers that do the same: times, random names, signatures.

/** A token becomes what it says, without when it ends and who signed it. */
function claimsOf(token: string): string {
  const payload = token.split('.')[1] ?? ''
  const { exp: _, ...claims } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
  return `token ${Object.entries(claims).sort().join(' ')}`
}

export function normalizeText(text: string): string {
  return (
    text
      .trimEnd()
      .replace(/"(created|updated|modified)":"[^"]*"/g, '"$1":"T"')
      .replace(/"(otpId|mfaId)":"[^"]*"/g, '"$1":"R"')
      .replace(/"token":"(eyJ[^"]+)"/g, (_, token: string) => `"token":"${claimsOf(token)}"`)
      // Stored names end in ten random characters, twice so after a batch.
      .replace(
        /(?<![a-z0-9])(upl[a-z0-9_]*?)((?:_[a-z0-9]{10})+)(\.\w+|(?=[";]))/gi,
        (_, name, suffix: string, extension) => `${name}${'_R'.repeat(suffix.length / 11)}${extension}`,
      )
      // Fields that a view copies get new ids whenever it is saved.
      .replace(/_clone_\w{4}/g, '_clone_R')
      // A dry run makes a view of a random name, which its id comes from.
      .replace(/"collectionId":"pbc_\d+","collectionName":"temp_view_\w+"/g, '"collectionName":"temp_view_R"')
      .replace(/temp_view_\w+/g, 'temp_view_R')
      // Collections in the way of a delete come in no fixed order.
      .replace(
        /(existing reference in )([\w, ]+)/g,
        (_, start: string, names: string) => start + names.split(', ').sort().join(', '),
      )
  )
}
