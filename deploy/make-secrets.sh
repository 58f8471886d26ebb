#!/bin/sh
# Makes the files that compose.yaml gives to the containers as secrets: sh deploy/make-secrets.sh FOLDER
# A file that exists is kept. The user in the image has the id 10001, and nobody else may read the files.
set -eu
folder=${1:?the folder is missing}
umask 077
mkdir -p "$folder"
make() {
    [ -e "$folder/$1" ] || printf '%s' "$2" > "$folder/$1"
}
make xero_encryption_key "$(openssl rand -hex 32)"
make admin_token "$(openssl rand -hex 24)"
make database_password "$(openssl rand -hex 24)"
# An empty secret is refused; the mock asks for none.
make xero_client_secret "the-secret-of-your-app-at-developer.xero.com"
make database_url "postgresql+psycopg://xero:$(cat "$folder/database_password")@database/xero"
if [ "$(id -u)" = 0 ]; then
    chown -R 10001:10001 "$folder"
else
    echo "now run: sudo chown -R 10001:10001 $folder" >&2
fi
