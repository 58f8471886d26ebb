"""What Xero's OpenAPI says about the answers that the mock gives, as a JSON schema of our own.

The facts are from `xero_accounting.yaml` and `xero-identity.yaml` of XeroAPI/Xero-OpenAPI 16.1.0: names of fields,
types and enumerations. That document requires almost nothing. Required here is what its examples always contain, or
what a client needs to tell things apart. Every object is closed, so a field that Xero does not have is a violation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema_rs

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
COUNT: Json = {"type": "integer"}
AMOUNT: Json = {"type": "number"}
UUID: Json = {"type": "string", "format": "uuid"}
# Xero's dates: milliseconds since 1970, with or without a zone.
DAY: Json = {"type": "string", "pattern": r"^/Date\(-?\d+(\+0000)?\)/$"}
MOMENT = DAY
# DateString and DueDateString, which the document's examples have and its schemas do not.
DAY_TEXT: Json = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T00:00:00$"}
MOMENT_TEXT: Json = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"}
CURRENCY: Json = {"type": "string", "pattern": "^[A-Z]{3}$"}
COUNTRY: Json = {"type": "string", "pattern": "^[A-Z]{2}$"}


def _text(longest: int) -> Json:
    return {"type": "string", "maxLength": longest}


def _one_of(words: str) -> Json:
    return {"enum": words.split()}


def _list(item: Json | str) -> Json:
    return {"type": "array", "items": _refer(item) if isinstance(item, str) else item}


def _refer(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}


def _object(required: str, **fields: Json) -> Json:
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


_ACCOUNT_TYPES = (
    "BANK CURRENT CURRLIAB DEPRECIATN DIRECTCOSTS EQUITY EXPENSE FIXED INVENTORY LIABILITY NONCURRENT OTHERINCOME"
    " OVERHEADS PREPAYMENT REVENUE SALES TERMLIAB PAYG"
)
_SYSTEM_ACCOUNTS = (
    "DEBTORS CREDITORS BANKCURRENCYGAIN GST GSTONIMPORTS HISTORICAL REALISEDCURRENCYGAIN RETAINEDEARNINGS ROUNDING"
    " TRACKINGTRANSFERS UNPAIDEXPCLM UNREALISEDCURRENCYGAIN WAGEPAYABLES CISASSETS CISASSET CISLABOUR CISLABOUREXPENSE"
    " CISLABOURINCOME CISLIABILITY CISMATERIALS"
)
_DOCUMENT_STATUSES = "DRAFT SUBMITTED DELETED AUTHORISED PAID VOIDED"
_ORGANISATION_TYPES = (
    "ACCOUNTING_PRACTICE COMPANY CHARITY CLUB_OR_SOCIETY INDIVIDUAL LOOK_THROUGH_COMPANY NOT_FOR_PROFIT PARTNERSHIP"
    " S_CORPORATION SELF_MANAGED_SUPERANNUATION_FUND SOLE_TRADER SUPERANNUATION_FUND TRUST PERSONAL SINGLEMEMBERLLC"
    " CCORPORATIONLLC PARTNERSHIPLLC SCORPORATIONLLC LLC NOTLLC UNSPECIFIED"
)

# What an invoice and a credit note have in common.
_DOCUMENT: Json = {
    "Contact": _refer("Contact"),
    "Date": DAY,
    "DateString": DAY_TEXT,
    "Status": _one_of(_DOCUMENT_STATUSES),
    "LineAmountTypes": _one_of("Exclusive Inclusive NoTax"),
    "LineItems": _list("LineItem"),
    "SubTotal": AMOUNT,
    "TotalTax": AMOUNT,
    "Total": AMOUNT,
    "UpdatedDateUTC": MOMENT,
    "UpdatedDateUTCString": MOMENT_TEXT,
    "CurrencyCode": CURRENCY,
    "CurrencyRate": AMOUNT,
    "FullyPaidOnDate": DAY,
    "Reference": TEXT,
    "SentToContact": FLAG,
    "Payments": _list("Payment"),
    "HasAttachments": FLAG,
    "HasErrors": FLAG,
}
_DOCUMENT_REQUIRED = (
    "Type Contact Date Status LineAmountTypes LineItems SubTotal TotalTax Total UpdatedDateUTC CurrencyCode"
)

_DEFINITIONS: Json = {
    "Account": _object(
        "AccountID Code Name Type Class Status TaxType UpdatedDateUTC",
        AccountID=UUID,
        Code=TEXT,
        Name=_text(150),
        Type=_one_of(_ACCOUNT_TYPES),
        Class=_one_of("ASSET EQUITY EXPENSE LIABILITY REVENUE"),
        Status=_one_of("ACTIVE ARCHIVED DELETED"),
        TaxType=TEXT,
        Description=TEXT,
        BankAccountNumber=TEXT,
        BankAccountType=_one_of("BANK CREDITCARD PAYPAL NONE"),
        CurrencyCode=CURRENCY,
        EnablePaymentsToAccount=FLAG,
        ShowInExpenseClaims=FLAG,
        SystemAccount=_one_of(_SYSTEM_ACCOUNTS),
        ReportingCode=TEXT,
        ReportingCodeName=TEXT,
        HasAttachments=FLAG,
        UpdatedDateUTC=MOMENT,
        AddToWatchlist=FLAG,
    ),
    "Organisation": _object(
        "OrganisationID Name BaseCurrency CountryCode FinancialYearEndDay FinancialYearEndMonth Timezone",
        OrganisationID=UUID,
        APIKey=TEXT,
        Name=TEXT,
        LegalName=TEXT,
        PaysTax=FLAG,
        Version=_one_of("AU NZ GLOBAL UK US AUONRAMP NZONRAMP GLOBALONRAMP UKONRAMP USONRAMP"),
        OrganisationType=_one_of(_ORGANISATION_TYPES),
        OrganisationEntityType=_one_of(_ORGANISATION_TYPES),
        BaseCurrency=CURRENCY,
        CountryCode=COUNTRY,
        IsDemoCompany=FLAG,
        OrganisationStatus=TEXT,
        TaxNumber=TEXT,
        FinancialYearEndDay=COUNT,
        FinancialYearEndMonth=COUNT,
        SalesTaxBasis=_one_of("PAYMENTS INVOICE NONE CASH ACCRUAL FLATRATECASH FLATRATEACCRUAL ACCRUALS"),
        SalesTaxPeriod=_one_of(
            "MONTHLY QUARTERLY1 QUARTERLY2 QUARTERLY3 ANNUALLY ONEMONTHS TWOMONTHS SIXMONTHS 1MONTHLY 2MONTHLY"
            " 3MONTHLY 6MONTHLY QUARTERLY YEARLY NONE"
        ),
        DefaultSalesTax=TEXT,
        DefaultPurchasesTax=TEXT,
        PeriodLockDate=DAY,
        EndOfYearLockDate=DAY,
        CreatedDateUTC=MOMENT,
        # Of Xero's 140 time zones, those of the countries here.
        Timezone=_one_of("AUSEASTERNSTANDARDTIME NEWZEALANDSTANDARDTIME GMTSTANDARDTIME EASTERNSTANDARDTIME UTC"),
        ShortCode=TEXT,
        Class=_one_of(
            "DEMO TRIAL STARTER STANDARD PREMIUM PREMIUM_20 PREMIUM_50 PREMIUM_100 LEDGER GST_CASHBOOK NON_GST_CASHBOOK"
            " ULTIMATE LITE ULTIMATE_10 ULTIMATE_20 ULTIMATE_50 ULTIMATE_100 IGNITE GROW COMPREHENSIVE SIMPLE BASICLITE"
            " ULTRA"
        ),
        Edition=_one_of("BUSINESS PARTNER"),
        Addresses=_list(_object("")),
        Phones=_list(_object("")),
        ExternalLinks=_list(_object("")),
        PaymentTerms=_object(""),
    ),
    "Currency": _object("Code Description", Code=CURRENCY, Description=TEXT),
    "TrackingCategory": _object(
        "TrackingCategoryID Name Status Options",
        TrackingCategoryID=UUID,
        Name=_text(100),
        Status=_one_of("ACTIVE ARCHIVED DELETED"),
        Options=_list("TrackingOption"),
    ),
    "TrackingOption": _object(
        "TrackingOptionID Name Status",
        TrackingOptionID=UUID,
        TrackingCategoryID=UUID,
        Name=_text(100),
        Status=_one_of("ACTIVE ARCHIVED DELETED"),
        # Xero sends these four; its document does not mention them.
        HasValidationErrors=FLAG,
        IsDeleted=FLAG,
        IsArchived=FLAG,
        IsActive=FLAG,
    ),
    "Invoice": _object(
        f"InvoiceID InvoiceNumber AmountDue AmountPaid AmountCredited {_DOCUMENT_REQUIRED}",
        **_DOCUMENT,
        Type=_one_of("ACCPAY ACCPAYCREDIT APOVERPAYMENT APPREPAYMENT ACCREC ACCRECCREDIT AROVERPAYMENT ARPREPAYMENT"),
        InvoiceID=UUID,
        InvoiceNumber=_text(255),
        RepeatingInvoiceID=UUID,
        DueDate=DAY,
        DueDateString=DAY_TEXT,
        AmountDue=AMOUNT,
        AmountPaid=AMOUNT,
        AmountCredited=AMOUNT,
        IsDiscounted=FLAG,
        CreditNotes=_list(_object("")),
        Prepayments=_list(_object("")),
        Overpayments=_list(_object("")),
    ),
    "CreditNote": _object(
        f"CreditNoteID CreditNoteNumber RemainingCredit {_DOCUMENT_REQUIRED}",
        **_DOCUMENT,
        Type=_one_of("ACCPAYCREDIT ACCRECCREDIT"),
        CreditNoteID=UUID,
        CreditNoteNumber=TEXT,
        # In the document's examples, not in its schemas.
        ID=UUID,
        RemainingCredit=AMOUNT,
        Allocations=_list(_object("")),
    ),
    "Contact": _object(
        "ContactID Name",
        ContactID=UUID,
        Name=_text(255),
        Addresses=_list(_object("")),
        Phones=_list(_object("")),
        ContactGroups=_list(_object("")),
        ContactPersons=_list(_object("")),
        HasValidationErrors=FLAG,
    ),
    "LineItem": _object(
        "LineItemID LineAmount TaxAmount Tracking",
        LineItemID=UUID,
        Description=TEXT,
        Quantity=AMOUNT,
        UnitAmount=AMOUNT,
        ItemCode=TEXT,
        AccountCode=TEXT,
        AccountID=UUID,
        TaxType=TEXT,
        TaxAmount=AMOUNT,
        LineAmount=AMOUNT,
        Tracking=_list("LineItemTracking"),
        ValidationErrors=_list("ValidationError"),
    ),
    "LineItemTracking": _object(
        "TrackingCategoryID Name Option", TrackingCategoryID=UUID, TrackingOptionID=UUID, Name=_text(100), Option=TEXT
    ),
    "Payment": _object(
        "PaymentID Date Amount",
        PaymentID=UUID,
        Date=DAY,
        Amount=AMOUNT,
        Reference=TEXT,
        CurrencyRate=AMOUNT,
        HasAccount=FLAG,
        HasValidationErrors=FLAG,
    ),
    "Pagination": _object(
        "page pageSize pageCount itemCount", page=COUNT, pageSize=COUNT, pageCount=COUNT, itemCount=COUNT
    ),
    "Report": _object(
        "ReportName ReportTitles ReportDate UpdatedDateUTC Rows",
        ReportID=TEXT,
        ReportName=TEXT,
        ReportType=TEXT,
        ReportTitles=_list(TEXT),
        ReportDate=TEXT,
        UpdatedDateUTC=MOMENT,
        Fields=_list(_object("", FieldID=TEXT, Description=TEXT, Value=TEXT)),
        Rows=_list("ReportRows"),
    ),
    "ReportRows": _object(
        "RowType",
        RowType=_one_of("Header Section Row SummaryRow"),
        Title=TEXT,
        Cells=_list("ReportCell"),
        Rows=_list("ReportRow"),
    ),
    "ReportRow": _object(
        "RowType Cells", RowType=_one_of("Header Section Row SummaryRow"), Title=TEXT, Cells=_list("ReportCell")
    ),
    "ReportCell": _object("Value", Value=TEXT, Attributes=_list(_object("Id Value", Id=TEXT, Value=TEXT))),
    "ValidationError": _object("Message", Message=TEXT),
    "Error": _object(
        "ErrorNumber Type Message",
        ErrorNumber=COUNT,
        Type=TEXT,
        Message=TEXT,
        Elements=_list(_object("ValidationErrors", ValidationErrors=_list("ValidationError"))),
    ),
    # 401 and 403 are not in the document. `auth_errors.json` of the samples has answers that were recorded.
    "Refusal": {
        "anyOf": [
            _object("Title Status Detail Instance", Title=TEXT, Status=COUNT, Detail=TEXT, Instance=UUID),
            _object("title status detail instance", title=TEXT, status=COUNT, detail=TEXT, instance=UUID),
        ]
    },
    "Connection": _object(
        "id tenantId tenantType tenantName createdDateUtc updatedDateUtc",
        id=UUID,
        tenantId=UUID,
        authEventId=UUID,
        tenantType=_one_of("ORGANISATION PRACTICE"),
        tenantName=TEXT,
        # Seven decimals and no zone, as in the document's example.
        createdDateUtc={"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{7}$"},
        updatedDateUtc={"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{7}$"},
    ),
    "AccessToken": _object(
        "access_token expires_in token_type scope",
        id_token=TEXT,
        access_token=TEXT,
        expires_in=COUNT,
        token_type=_one_of("Bearer"),
        refresh_token=TEXT,
        scope=TEXT,
    ),
}

_ENVELOPE: Json = {"Id": UUID, "Status": _one_of("OK"), "ProviderName": TEXT, "DateTimeUTC": MOMENT}


def _wrap(container: str, item: str, **more: Json) -> Json:
    return _object(f"Id Status ProviderName DateTimeUTC {container}", **_ENVELOPE, **more, **{container: _list(item)})


ANSWERS: Json = {
    "Accounts": _wrap("Accounts", "Account"),
    "Currencies": _wrap("Currencies", "Currency"),
    "Organisations": _wrap("Organisations", "Organisation"),
    "TrackingCategories": _wrap("TrackingCategories", "TrackingCategory"),
    "Invoices": _wrap("Invoices", "Invoice", pagination=_refer("Pagination")),
    "CreditNotes": _wrap("CreditNotes", "CreditNote", pagination=_refer("Pagination")),
    "Reports": _wrap("Reports", "Report"),
    "Connections": _list("Connection"),
    "AccessToken": _refer("AccessToken"),
    "Error": _refer("Error"),
    "Refusal": _refer("Refusal"),
}


@lru_cache(maxsize=len(ANSWERS))
def _get_validator(answer: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$defs": _DEFINITIONS, **ANSWERS[answer]}, validate_formats=True)


def find_violations(answer: str, payload: object) -> list[str]:
    """What in a payload is not as Xero has it: the place and the reason. `answer` is a key of `ANSWERS`."""
    errors = _get_validator(answer).iter_errors(payload)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors]
