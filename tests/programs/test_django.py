"""A Django project with agents in one of its apps, found by autodiscover, run by a worker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.programs.conftest import MakeProgram, Program

BODY = """\
os.environ["DJANGO_SETTINGS_MODULE"] = "proj_settings"
app.config_from_object(dict(autodiscover=True, origin=__name__))
"""
SETTINGS = """\
import os
SECRET_KEY = "of this test"
INSTALLED_APPS = ["shop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.abspath("db.sqlite3")}
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
"""
MODELS = """\
from django.db import models

class Order(models.Model):
    account = models.TextField()
    amount = models.IntegerField()

    class Meta:
        app_label = "shop"
"""
AGENTS = """\
from asgiref.sync import sync_to_async
from {module} import app
from shop.models import Order

@app.agent(app.topic("{topic}", value_type=dict))
async def take(orders):
    async for order in orders:
        row = await Order.objects.acreate(**order)
        total = await sync_to_async(sum_of)(order["account"])
        print(f"order {{row.pk}}: {{order['account']}} has {{total}}")

def sum_of(account):
    return sum(Order.objects.filter(account=account).values_list("amount", flat=True))
"""
MIGRATE = """\
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "proj_settings"
import django
django.setup()
from django.db import connection
from shop.models import Order
with connection.schema_editor() as editor:
    editor.create_model(Order)
print("made")
"""


@pytest.fixture
def project(program: MakeProgram, new_name: Any) -> tuple[Program, str]:
    """A project whose database is there, and the topic that its agent reads."""
    app, topic = program(BODY), new_name("orders")
    (app.folder / "shop").mkdir()
    app.write(SETTINGS, "proj_settings")
    app.write("", "shop/__init__")
    app.write(MODELS, "shop/models")
    app.write(AGENTS.format(module=app.module, topic=topic), "shop/agents")
    app.write(MIGRATE, "migrate")
    app.script("migrate").wait_for("made")
    return app, topic


def test_agents_of_installed_apps_are_found_and_use_the_database(
    project: tuple[Program, str],
) -> None:
    app, topic = project
    worker = app.ready_worker()
    for amount in (3, 4):
        app.command("send", topic, f'{{"account": "ada", "amount": {amount}}}')
    worker.wait_for("order 2: ada has 7")
    assert worker.terminate() == 0, worker.output()
    app.assert_no_errors()
