-- Sessions of version 1 keep NULL here: nobody recorded it.
ALTER TABLE sessions ADD COLUMN kind TEXT;
ALTER TABLE sessions ADD COLUMN control_socket BLOB;
