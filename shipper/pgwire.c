/* placeholder, replaced before commit */
