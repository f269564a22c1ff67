// Ends with 0 once the replica set of one can be written to by Backline's user; makes both where they are missing.
const admin = db.getSiblingDB("admin");
const root = process.env.MONGO_INITDB_ROOT_USERNAME;

try {
  admin.auth(root, process.env.MONGO_INITDB_ROOT_PASSWORD);
  if (!admin.hello().setName) {
    rs.initiate({ _id: "rs0", members: [{ _id: 0, host: "mongo:27017" }] });
  }
  // Asked once: a primary that is elected between two looks would be well without its user.
  const isPrimary = admin.hello().isWritablePrimary === true;
  if (isPrimary && admin.getUser("backline") === null) {
    admin.createUser({
      user: "backline",
      pwd: process.env.BACKLINE_PASSWORD,
      // Each owner has a database of their own, and replication is looked at for the metrics.
      roles: ["readWriteAnyDatabase", "clusterMonitor"],
    });
  }
  quit(isPrimary ? 0 : 1);
} catch (error) {
  print(error.codeName || error.message);
  quit(1);
}
